# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The script of the audit's page: filter, sorting, details of a database, copying, printing.

It adds to a page that can be read without it. All texts of the report go in as text nodes and attributes, never as
markup; the page's Content-Security-Policy (Trusted Types) holds it to that.
"""

from __future__ import annotations

from .reportdetails import DETAILS
from .reporttimeline import TIMELINE

_BASE = r"""
const get = (id) => document.getElementById(id);
const data = JSON.parse(get("data").textContent);
const STATE_WORDS = {critical: "Critical", warning: "Warning", notice: "Notice", unknown: "Unknown", ok: "OK"};
let printing = false;
const narrow = matchMedia("screen and (max-width: 1320px)");

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const cards = () => narrow.matches && !printing; // a card for each database, instead of a row
const draw = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function say(words) {
  get("said").textContent = words;
}
"""

_FILTER = r"""
const list = get("list");
const bodies = [...list.tBodies];
const findingRows = [...get("found").tBodies[0].rows];
const form = get("filter");
const FIRST = 100; // so many findings stand there at first
let allFindings = false;

const wordsOf = (database) => [database.host, database.name, database.path].join("\n").toLowerCase();
const databaseWords = data.databases.map(wordsOf);
const findingWords = data.findings.map(([place, , , words]) => place < 0 ? words.toLowerCase() : databaseWords[place]);

function wanted() {
  return {
    text: get("q").value.trim().toLowerCase(),
    states: [...form.querySelectorAll("input:checked")].map((box) => data.states.indexOf(box.value)),
    control: data.controls.findIndex(([id]) => id === get("control").value),
  };
}

function databaseFits(place, {text, states, control}) {
  if (!databaseWords[place].includes(text)) return false;
  const {controls, worst} = data.databases[place], ok = data.states.indexOf("ok");
  if (control >= 0) {
    if (controls[control] === "-") return false;
    return states.length ? states.includes(+controls[control]) : +controls[control] !== ok;
  }
  return !states.length || states.some((state) => state === ok ? worst === ok : controls.includes(state));
}

function findingFits(place, {text, states, control}) {
  const [, severity, id] = data.findings[place];
  return findingWords[place].includes(text) && (!states.length || states.includes(severity)) &&
    (control < 0 || data.controls[control][0] === id);
}

const isSet = ({text, states, control}) => Boolean(text || states.length || control >= 0);

function filter() {
  const asked = wanted();
  let databases = 0, findings = 0;
  bodies.forEach((body, place) => {
    const fits = databaseFits(place, asked);
    body.classList.toggle("out", !fits);
    databases += fits;
  });
  findingRows.forEach((row, place) => {
    const fits = findingFits(place, asked);
    findings += fits;
    row.classList.toggle("out", !fits || (!allFindings && findings > FIRST));
  });
  const words = databases.toLocaleString("en") + " of " + counted(bodies.length, "database") + ", " +
    findings.toLocaleString("en") + " of " + counted(findingRows.length, "finding");
  if (get("count").textContent !== words) get("count").textContent = words;
  get("clear").hidden = !isSet(asked);
  get("partly").textContent = isSet(asked) ? "A filter was set: these are " + databases.toLocaleString("en") + " of " +
    counted(bodies.length, "database") + "." : "";
  get("nodatabase").hidden = databases > 0;
  get("nofinding").hidden = findings > 0;
  get("all").hidden = allFindings || findings <= FIRST;
  get("all").textContent = "Show all " + counted(findings, "finding");
}

function clear() {
  form.reset();
  filter();
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("input", filter);
get("clear").addEventListener("click", () => {
  clear();
  get("q").focus();
});
get("all").addEventListener("click", () => {
  allFindings = true;
  const next = findingRows.filter((row, place) => findingFits(place, wanted()))[FIRST];
  filter();
  next.tabIndex = -1;
  next.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && isSet(wanted())) clear();
});
"""

_SORT = r"""
const byText = new Intl.Collator("en", {numeric: true}).compare;
const last = (list) => list[list.length - 1];
const byNumber = (a, b) => a - b;
// What a column is sorted by. null stands at the end either way; what never happened is older than all that did.
const KEYS = {
  state: [byNumber, (each) => each.worst],
  host: [byText, (each) => each.host],
  database: [byText, (each) => each.name],
  newest: [byNumber, (each) => each.newest ?? 0],
  until: [byNumber, (each) => each.until],
  size: [byNumber, (each) => each.size],
  backups: [byNumber, (each) => each.kind.length],
  drill: [byNumber, (each) => each.drills.length ? last(each.drills)[0] : -data.now],
};

function sort(head) {
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const [compare, key] = KEYS[head.dataset.sort];
  const keys = data.databases.map(key);
  const order = bodies.map((_, place) => place).sort((a, b) => {
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null) || a - b;
    return direction * compare(keys[a], keys[b]) || a - b;
  });
  for (const other of list.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  list.append(...order.map((place) => bodies[place]));
}

for (const head of list.tHead.rows[0].cells) {
  if (!head.dataset.sort) continue;
  const button = make("button", {type: "button", class: "sort", click: () => sort(head)}, ...head.childNodes);
  head.append(button);
}
list.tHead.rows[0].cells[0].setAttribute("aria-sort", "ascending");
"""

_START = r"""
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = make("textarea", {class: "unseen", "aria-hidden": "true"});
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
  return true;
}

for (const row of findingRows) {
  const code = row.querySelector("code");
  if (!code) continue;
  const button = make("button", {type: "button", class: "copy", "aria-label": "Copy: " + code.textContent}, "Copy");
  button.addEventListener("click", async () => {
    const done = await copy(code.textContent);
    button.focus();
    button.textContent = done ? "Copied" : "Failed";
    say(done ? "Copied" : "The browser does not allow copying");
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  code.after(button);
}

list.classList.add("live");
list.classList.toggle("many", bodies.length > FEW);
bodies.forEach((body, place) => {
  const {host, name} = data.databases[place];
  const button = make("button", {
    type: "button", class: "open", "aria-expanded": "false", "aria-label": "Details of " + name + " on " + host,
  });
  button.addEventListener("click", () => toggle(body, button));
  body.rows[0].querySelector("th").prepend(button);
  watch.observe(body);
});

// Where rows are grids, some browsers forget that they are rows.
for (const [selector, role] of [["", "table"], [" thead, #list tbody", "rowgroup"], [" tr", "row"], [" td", "cell"],
  [" thead th", "columnheader"], [" tbody th", "rowheader"]]) {
  for (const each of document.querySelectorAll("#list" + selector)) each.setAttribute("role", role);
}

for (const days of [1, 7, 30, 90, 365]) {
  if (days * DAY < data.oldest) get("span").append(make("option", {value: days}, counted(days, "day")));
}
get("span").append(make("option", {value: "all"}, "everything"));
// What nine in ten databases have, but no more than a quarter of a year.
const enough = [...get("span").options].find(({value}) => !(value * DAY < Math.min(data.usual, 90 * DAY)));
enough.selected = true;

for (const each of document.querySelectorAll(".script")) each.hidden = false;
get("plain").hidden = true;

function since() {
  const minutes = Math.floor((Date.now() - data.now) / 60000);
  const [size, unit] = minutes < 60 ? [1, "minute"] : minutes < 2880 ? [60, "hour"] : [1440, "day"];
  get("since").textContent = minutes < 1 ? ", just now" : ", " + counted(Math.floor(minutes / size), unit) + " ago";
  get("since").className = minutes >= 2880 ? "old" : "";
}
since();
setInterval(since, 60000);

const measure = () => document.documentElement.style.setProperty("--bar", form.offsetHeight + "px");
new ResizeObserver(measure).observe(form);
let waiting = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(redraw);
});
addEventListener("beforeprint", () => {
  printing = true;
  redraw();
});
addEventListener("afterprint", () => {
  printing = false;
  redraw();
});
get("span").addEventListener("input", showSpan);
showSpan();
filter();
"""

SCRIPT = '(() => {\n"use strict";' + _BASE + TIMELINE + _FILTER + _SORT + DETAILS + _START + "})();\n"
