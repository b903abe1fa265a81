# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The style of the audit's page: light, dark, narrow and on paper."""

from __future__ import annotations

_COLOURS = r"""
:root {
  color-scheme: light dark;
  --paper: #fcfcfa; --tint: #f3f4f1; --line: #dcdfd9; --edge: #868d86;
  --ink: #1c211e; --quiet: #586059; --link: #1b5c8c;
  --critical: #b3241c; --warning: #8a5300; --notice: #2b5f92; --unknown: #66606f; --ok: #1f6b41;
  --mark: #26332c; --window: #4c85a5; --bar-fill: #c3dbe8; --ring: #1b5c8c;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #141715; --tint: #1d211f; --line: #333935; --edge: #7b847e;
    --ink: #e4e8e5; --quiet: #9fa9a2; --link: #84bfe8;
    --critical: #ff8d82; --warning: #eab052; --notice: #8db9e6; --unknown: #b6acc4; --ok: #7ecb9c;
    --mark: #dfe7e2; --window: #5590b0; --bar-fill: #213f50; --ring: #84bfe8;
  }
}
@media print { :root { color-scheme: light; --paper: #fff; --tint: #f3f3f3; } }
@media (forced-colors: active) {
  :root {
    --paper: Canvas; --tint: Canvas; --line: GrayText; --edge: CanvasText; --ink: CanvasText; --quiet: CanvasText;
    --link: LinkText; --critical: CanvasText; --warning: CanvasText; --notice: CanvasText; --unknown: CanvasText;
    --ok: CanvasText; --mark: CanvasText; --window: CanvasText; --bar-fill: Canvas; --ring: Highlight;
  }
}
"""

_BASE = r"""
* { box-sizing: border-box; }
html { scroll-padding-top: calc(var(--bar, 0px) + 4rem); -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 108rem; padding: 0 clamp(.75rem, 2.5vw, 2.25rem) 3rem;
  background: var(--paper); color: var(--ink);
  font: .875rem/1.45 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
a { color: var(--link); text-underline-offset: .15em; }
:focus-visible { outline: 2px solid var(--ring); outline-offset: 2px; }
[hidden], .out { display: none !important; }
.unseen {
  position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap;
}
.skip { position: absolute; left: -999rem; }
.skip:focus { left: .75rem; top: .5rem; z-index: 9; padding: .5rem .75rem; background: var(--paper); }
.quiet, small { color: var(--quiet); }
small { display: block; font-size: .75rem; }
code, .path {
  font-family: ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .75rem;
}

header { padding: 2rem 0 1rem; }
.kind { margin: 0; color: var(--quiet); font-size: .8125rem; }
h1 {
  margin: .125rem 0 .5rem; font-size: clamp(1.75rem, 1.2rem + 2vw, 2.375rem); line-height: 1.15;
  letter-spacing: -.015em;
}
h1::before { margin-right: .4em; font-size: .75em; }
h2 { margin: 2.25rem 0 .5rem; font-size: 1.1875rem; line-height: 1.3; letter-spacing: -.005em; }
.lead { margin: 0; max-width: 62rem; font-size: 1rem; }
header .quiet { margin: .25rem 0 0; }
.old { color: var(--warning); font-weight: 600; }
.sums { display: flex; flex-wrap: wrap; gap: .75rem 0; margin: 1.25rem 0 .75rem; }
.sums div { padding: 0 1.25rem; border-left: 1px solid var(--line); }
.sums div:first-child { padding-left: 0; border: 0; }
.sums dt { color: var(--quiet); font-size: .75rem; }
.sums dd { margin: 0; font-size: 1.5rem; line-height: 1.2; font-weight: 600; letter-spacing: -.01em; }
.sums dd.nil { color: var(--quiet); font-weight: 400; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0; padding: 0; list-style: none; }

.critical { color: var(--critical); }
.warning { color: var(--warning); }
.notice { color: var(--notice); }
.unknown { color: var(--unknown); }
.ok { color: var(--ok); }
/* The second content, where a browser knows it, is not read aloud. */
.state { font-weight: 600; white-space: nowrap; }
.state::before { display: inline-block; width: 1.35em; }
.state.critical::before, h1.critical::before { content: "\2715"; content: "\2715" / ""; }
.state.warning::before, h1.warning::before { content: "\25B2"; content: "\25B2" / ""; }
.state.notice::before { content: "\25CF"; content: "\25CF" / ""; }
.state.unknown::before { content: "?"; content: "?" / ""; }
.state.ok::before, h1.ok::before { content: "\2713"; content: "\2713" / ""; }
"""

_CONTROLS = r"""
button, input, select { font: inherit; color: inherit; }
#filter {
  position: sticky; top: 0; z-index: 3; display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem;
  margin-top: 1rem; padding: .625rem 0; background: var(--paper); border-bottom: 1px solid var(--line);
}
#filter > label, .span {
  display: flex; align-items: center; gap: .5rem; min-width: 0; max-width: 100%; color: var(--quiet);
  overflow-wrap: normal;
}
input[type=search], select {
  height: 2rem; min-width: 0; max-width: 100%; padding: 0 .5rem; background: var(--paper); color: var(--ink);
  border: 1px solid var(--edge); border-radius: .25rem;
}
input[type=search] { width: 15rem; }
::placeholder { color: var(--quiet); opacity: 1; }
fieldset { display: flex; flex-wrap: wrap; gap: .375rem; margin: 0; padding: 0; border: 0; min-width: 0; }
legend { float: left; margin-right: .5rem; padding: 0; line-height: 2rem; color: var(--quiet); }
.chip { position: relative; }
.chip input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: pointer; }
.chip span {
  display: block; padding: 0 .75rem 0 .5rem; line-height: calc(2rem - 2px); border: 1px solid var(--edge);
  border-radius: 1rem;
}
.chip input:checked + span { background: var(--ink); border-color: var(--ink); color: var(--paper); }
@media (forced-colors: active) {
  .chip input:checked + span { background: CanvasText; color: Canvas; forced-color-adjust: none; }
}
.chip input:focus-visible + span { outline: 2px solid var(--ring); outline-offset: 2px; }
button {
  min-height: 1.75rem; padding: 0 .625rem; background: none; border: 1px solid var(--edge); border-radius: .25rem;
  cursor: pointer;
}
button:hover, .chip:hover input:not(:checked) + span { background: var(--tint); }
#count { margin-left: auto; color: var(--quiet); }
.copy { min-width: 4.5rem; margin-left: .5rem; font-size: .75rem; }
.sort {
  min-height: 1.5rem; margin: 0 -.375rem; padding: 0 .375rem; border: 0; font-weight: inherit; text-align: inherit;
}
.sort::after { content: "\2195"; content: "\2195" / ""; padding-left: .3em; opacity: 0; }
.sort:hover::after { opacity: 1; }
[aria-sort] .sort { color: var(--ink); }
[aria-sort] .sort::after { content: "\2191"; content: "\2191" / ""; opacity: 1; }
[aria-sort=descending] .sort::after { content: "\2193"; content: "\2193" / ""; }
.open { position: absolute; top: .375rem; left: 0; width: 1.5rem; min-height: 1.5rem; padding: 0; border: 0; }
.open::before { content: "\25B8"; content: "\25B8" / ""; display: block; }
.open[aria-expanded=true]::before { transform: rotate(90deg); }
@media (prefers-reduced-motion: no-preference) { .open::before { transition: transform .12s; } }
@media (max-height: 30rem), (max-width: 700px) { #filter { position: static; } }
"""

_TABLES = r"""
table { width: 100%; border-spacing: 0; }
caption { padding: 0 0 .5rem; text-align: left; color: var(--quiet); }
th, td { padding: .5rem .625rem; vertical-align: top; text-align: left; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { padding-left: 0; }
thead th {
  vertical-align: bottom; color: var(--quiet); font-size: .75rem; font-weight: 600; border-color: var(--edge);
}
tbody th { font-weight: 600; }
tbody th small { font-weight: 400; }
.n { text-align: right; }
.scroll { overflow-x: auto; overflow-wrap: normal; }
.scroll th, .scroll td { white-space: nowrap; }
.scroll .wide { white-space: normal; min-width: 18rem; }

#found { table-layout: fixed; }
#found thead th:nth-child(1) { width: 8rem; }
#found thead th:nth-child(2) { width: 21%; }
#found thead th:nth-child(4) { width: 36%; }
.todo { display: flex; align-items: flex-start; justify-content: space-between; }
.todo code { padding-top: .25rem; }

.above { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem 2rem; margin-bottom: .25rem; }
#legend {
  display: flex; flex-wrap: wrap; gap: .25rem 1.125rem; margin: 0; padding: 0; list-style: none; color: var(--quiet);
}
#legend svg { display: inline-block; vertical-align: -.25rem; margin-right: .375rem; }
#list { table-layout: fixed; }
.head th, .row > * { padding: .5rem; }
.head th:first-child, .row > :first-child { padding-left: 0; }
.head th:nth-child(1) { width: 8rem; }
.head th:nth-child(2) { width: 7rem; }
.head th:nth-child(3) { width: 14rem; }
.head th:nth-child(4), .head th:nth-child(5), .head th:nth-child(8) { width: 8.25rem; }
.head th:nth-child(6) { width: 5.25rem; }
.head th:nth-child(7) { width: 7.25rem; }
.live .head th:nth-child(3), .live .row > th { padding-left: 1.75rem; }
.row > th { position: relative; }
.row > td:nth-child(n+4):nth-child(-n+7) small, .row > td:nth-child(6) { white-space: nowrap; }
.row > .line { height: 3.5rem; padding: .375rem .5rem; }
#axis { height: 1rem; }
.details > td { padding: .75rem .625rem 1.25rem 2rem; background: var(--tint); }
.details p { margin: .375rem 0; max-width: 62rem; }
.details .scroll {
  max-height: 24rem; margin-top: .5rem; padding: 0 .75rem; overflow-y: auto; background: var(--paper);
}
.details .scroll thead th { position: sticky; top: 0; background: var(--paper); }
.states { margin: .5rem 0; padding: 0; list-style: none; }
summary { width: fit-content; padding: .125rem 0; color: var(--link); cursor: pointer; }
figure { margin: 0; }

svg { display: block; max-width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 11px; font-weight: 400; }
.tick { stroke: var(--line); fill: none; }
.ground { stroke: var(--edge); fill: none; stroke-opacity: .5; }
path.verified { fill: var(--mark); }
path.bad { stroke: var(--critical); stroke-width: 2; fill: none; }
path.window { fill: var(--bar-fill); stroke: var(--window); }
path.gap { fill: url(#hatch); stroke: var(--critical); }
#hatch rect { fill: var(--paper); }
.hatch { stroke: var(--critical); stroke-width: 1.5; }
path.passed { fill: var(--ok); stroke: var(--ok); }
path.slow { fill: var(--paper); stroke: var(--warning); stroke-width: 1.5; }
path.failed { fill: none; stroke: var(--critical); stroke-width: 1.5; }
path.older { fill: var(--quiet); }
"""

# With the script rows are grids, so that a browser lays out only those in view, and cards where there is little room.
_ROWS = r"""
@media screen {
  #partly { display: none; }
  .live, .live > caption, .live > thead, .live > tbody, .details, .details > td { display: block; }
  .live > thead {
    position: sticky; top: var(--bar, 0); z-index: 2; background: var(--paper); border-bottom: 1px solid var(--edge);
  }
  .live > tbody { border-bottom: 1px solid var(--line); }
  .many > tbody { content-visibility: auto; contain-intrinsic-size: auto 4.125rem; }
  .live > tbody:hover > .row { background: var(--tint); }
  .live .head, .live .row {
    display: grid; grid-template-columns: 8rem 7rem 14rem 8.25rem 8.25rem 5.25rem 7.25rem 8.25rem minmax(0, 1fr);
  }
  .live .head { align-items: end; }
  .live .head th, .live .row > *, .details > td { width: auto; border: 0; }
}
@media screen and (max-width: 1320px) {
  .live > thead { position: static; border-color: var(--line); }
  .live > tbody { padding: .625rem 0; }
  .many > tbody { contain-intrinsic-size: auto 11rem; }
  .live > tbody:hover > .row { background: none; }
  .live .head { display: flex; flex-wrap: wrap; gap: 0 .75rem; padding: .25rem 0; }
  .live .head th { padding: 0; }
  .live .head th:last-child { display: none; }
  .live .row { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .5rem 1rem; }
  .live .row > * { padding: 0; text-align: left; }
  .live .row > td:not(:first-child, .line)::before { display: block; color: var(--quiet); font-size: .75rem; }
  .live .row > td:nth-child(2)::before { content: "Host"; }
  .live .row > td:nth-child(4)::before { content: "Newest verified backup"; }
  .live .row > td:nth-child(5)::before { content: "Any moment until"; }
  .live .row > td:nth-child(6)::before { content: "Size"; }
  .live .row > td:nth-child(7)::before { content: "Backups"; }
  .live .row > td:nth-child(8)::before { content: "Last drill"; }
  .live .row > th { grid-column: span 3; }
  .live .row > .line { grid-column: 1 / -1; }
  .open { top: -.125rem; }
  .details > td { margin-top: .5rem; padding: .75rem; }
}
"""

_NARROW = r"""
@media screen and (max-width: 700px) {
  .many > tbody { contain-intrinsic-size: auto 21rem; }
  .live .row { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .live .row > th { grid-column: 1 / -1; grid-row: 1; }
  #found, #found :is(caption, thead, tbody, tr, th, td) { display: block; width: auto !important; }
  #found thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  #found tr { padding: .625rem 0; border-bottom: 1px solid var(--line); }
  #found th, #found td { padding: .125rem 0; border: 0; }
  #filter > label, input[type=search] { flex: 1 1 100%; }
  #filter select { flex: 1; }
  #count { margin-left: 0; }
  .sums { display: grid; grid-template-columns: repeat(3, 1fr); }
  .sums div, .sums div:first-child { padding: 0 0 0 .625rem; border-left: 1px solid var(--line); }
}
"""

_PAPER = r"""
@media (scripting: enabled) { #plain { display: none; } }
@media (scripting: none) { .head th:last-child, .row > .line { display: none; } }
@page { size: A4 landscape; margin: 12mm; }
@media print {
  body { max-width: none; padding: 0; font-size: 8.5pt; }
  header { padding-top: 0; }
  #filter, nav, .copy, .open, .skip, .span, .details, #all, #nofinding { display: none !important; }
  #found .out { display: table-row !important; }
  thead { display: table-header-group; }
  .sort { display: contents; }
  .sort::after { display: none; }
  tr, #list > tbody { break-inside: avoid; }
  h2, caption, .above { break-after: avoid; }
  path { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  small, code, .path, caption, .sums dt { font-size: 7.5pt; }
  th, td, .head th, .row > * { padding: .25rem .375rem; }
  th:first-child, td:first-child, .head th:first-child, .row > :first-child { padding-left: 0; }
  .head th { width: 6.25rem !important; }
  .head th:nth-child(1), .head th:nth-child(2) { width: 5.25rem !important; }
  .head th:nth-child(3) { width: 10rem !important; }
  .head th:nth-child(6) { width: 4.5rem !important; }
  .head th:last-child { width: auto !important; }
  .live .head th:nth-child(3), .live .row > th { padding-left: .375rem; }
  .row > .line { height: 2.5rem; padding: .25rem .375rem; }
  .line svg, #axis svg { width: 100%; }
}
"""

STYLE = _COLOURS + _BASE + _CONTROLS + _TABLES + _ROWS + _NARROW + _PAPER
