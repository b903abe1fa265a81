# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of the audit page's script that draws timelines when they come into view, and shows a database's details."""

from __future__ import annotations

# Runs inside ``reportscript.SCRIPT``.
DETAILS = r"""
const lineOf = (body) => body.rows[0].cells[body.rows[0].cells.length - 1];
const placeOf = new Map(bodies.map((body, place) => [body, place]));
const inView = new Set();
const drawn = new Map(); // which width a body's timeline was drawn for
const PAPER = 240, FEW = 100; // so many timelines are drawn at once
let lineWidth = PAPER;

function drawLine(body) {
  if (drawn.get(body) === lineWidth) return;
  drawn.set(body, lineWidth);
  lineOf(body).replaceChildren(timeline(data.databases[placeOf.get(body)], lineWidth, false));
}

function redraw() {
  const first = bodies.find((body) => !body.classList.contains("out"));
  if (printing) lineWidth = PAPER;
  else if (first) lineWidth = Math.max(160, lineOf(first).clientWidth - (cards() ? 0 : 16));
  drawn.clear();
  for (const body of bodies.length > FEW && !printing ? inView : bodies) {
    if (!body.classList.contains("out")) drawLine(body);
  }
  for (const figure of document.querySelectorAll("figure")) drawLarge(figure);
  const room = get("axis");
  if (cards()) return room.replaceChildren();
  const size = {viewBox: "0 0 " + lineWidth + " 16", width: lineWidth, height: 16};
  const picture = draw("svg", {"aria-hidden": "true", ...size});
  axis(picture, EDGE, lineWidth, 16, 2, 62);
  room.replaceChildren(picture);
}

function showSpan() {
  span = Number(get("span").value) * DAY || Math.max(data.oldest * 1.02, HOUR);
  redraw();
}

const watch = new IntersectionObserver((entries) => {
  for (const {target: body, isIntersecting} of entries) {
    if (isIntersecting) {
      inView.add(body);
      drawLine(body);
    } else inView.delete(body);
  }
}, {rootMargin: "300px 0px"});

function drawLarge(figure) {
  const picture = timeline(data.databases[figure.dataset.place], Math.max(260, figure.clientWidth), true);
  figure.replaceChild(picture, figure.firstChild);
}

function happenings(database) {
  const {backups, windows, gaps, drills} = history(database);
  const rows = [
    ...backups.map(({time, state, size, id}) => [time, null, "Backup", state + ", " + bytes(size), id]),
    ...windows.map(({from, to}) => [from, to, "Archive", "any moment can be restored", ""]),
    ...gaps.map(({from, to, reason}) => [from, to, "Gap", reason, ""]),
    ...drills.map((drill) => [drill.time, null, "Drill", drillWords(drill), drill.point]),
  ].sort((a, b) => b[0] - a[0]);
  const heads = ["From (UTC)", "To", "What", "Result", "Restore point"];
  return make("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "History of " + database.name},
    make("table", {},
      make("caption", {class: "unseen"}, "Backups, archive and drills of " + database.name + ", newest first"),
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", {scope: "col"}, text)))),
      make("tbody", {}, ...rows.map(([from, to, ...rest]) => make("tr", {},
        make("th", {scope: "row"}, stamp(from, 19)), make("td", {}, to === null ? "" : stamp(to, 19)),
        ...rest.map((text) => make("td", {}, text)))))));
}

// One line for each control that is not as it should be, one for all the others.
function stateOfControls(place) {
  const {controls} = data.databases[place], good = [], lines = [];
  data.controls.forEach(([id, name], index) => {
    if (controls[index] === "-") return;
    const state = data.states[controls[index]];
    if (state === "ok") return good.push(name);
    const found = data.findings.flatMap(([where, , what], row) =>
      where === place && what === id ? [findingRows[row].querySelector(".evidence").textContent] : []);
    lines.push(make("li", {}, make("span", {class: "state " + state}, STATE_WORDS[state]), " ",
      make("b", {}, name), found.length ? ": " + found.join("; ") : ""));
  });
  if (good.length) lines.push(make("li", {}, make("span", {class: "state ok"}, "OK"), " " + good.join(", ")));
  return make("ul", {class: "states"}, ...lines);
}

function goals({goals: [rpo, rto, drills], seen}) {
  const parts = [];
  if (rpo !== null) parts.push("a backup not older than " + duration(rpo));
  if (rto !== null) parts.push("a restore within " + duration(rto));
  if (drills !== null) parts.push("a drill every " + duration(drills));
  return "Objectives: " + (parts.join(", ") || "none") + ". Asked: " + (seen.join(", ") || "nobody who answered") + ".";
}

function details(place) {
  const database = data.databases[place];
  const readout = make("p", {class: "readout", "aria-hidden": "true"}, "Point at a mark to read it.");
  const figure = make("figure", {"data-place": place}, draw("svg"));
  const read = (event) => {
    readout.textContent = nearest(database, figure.firstChild, event) || "Point at a mark to read it.";
  };
  figure.addEventListener("pointermove", read);
  figure.addEventListener("pointerdown", read);
  const all = make("details", {}, make("summary", {}, "The same as a table"));
  all.addEventListener("toggle", () => all.children.length < 2 && all.append(happenings(database)), {once: true});
  return make("td", {colspan: 9, role: "cell"}, figure, readout, make("p", {}, sentence(database)),
    stateOfControls(place), make("p", {class: "quiet"}, goals(database)), all);
}

function toggle(body, button) {
  const open = button.getAttribute("aria-expanded") === "false";
  button.setAttribute("aria-expanded", String(open));
  if (body.rows.length < 2) {
    body.append(make("tr", {class: "details", id: body.id + "-details", role: "row"}, details(placeOf.get(body))));
    button.setAttribute("aria-controls", body.id + "-details");
  }
  body.rows[1].hidden = !open;
  if (open) drawLarge(body.querySelector("figure"));
}
"""
