# Copyright: (c) 2026, the Litekeep contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The part of the audit page's script that draws timelines, and says in words what they show."""

from __future__ import annotations

# Runs inside ``reportscript.SCRIPT``: data, make(), draw() and the like are of there. No text becomes markup.
TIMELINE = r"""
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HOUR = 3600000, DAY = 24 * HOUR;
const histories = new Map();
let span = DAY; // what the timelines show: so many milliseconds before the report

const numbers = (text) => text ? text.split(" ").map((part) => parseInt(part, 36)) : [];
const stamp = (moment, end = 16) => new Date(moment).toISOString().slice(0, end).replace("T", " ");
const pointId = (moment) => new Date(moment).toISOString().replace(/[-:]/g, "") + "-full";

// What happened to a database, from the packed form.
function history(database) {
  if (histories.has(database)) return histories.get(database);
  let at = data.now;
  const sizes = numbers(database.sizes);
  const backups = numbers(database.times).map((step, place) => ({
    time: at += step,
    state: data.kinds[parseInt(database.kind[place], 36)],
    size: sizes[place],
    id: (database.names || {})[place] || pointId(at),
  }));
  at = data.now;
  const ends = numbers(database.windows).map((step) => at += step);
  const windows = [];
  for (let place = 0; place < ends.length; place += 2) windows.push({from: ends[place], to: ends[place + 1]});
  const gaps = database.gaps.map(([start, length, reason]) =>
    ({from: data.now + start, to: data.now + start + length, reason}));
  const drills = database.drills.map(([start, passed, seconds, inTime, point]) =>
    ({time: data.now + start, passed: Boolean(passed), seconds, late: inTime === 0, point}));
  const found = {backups, windows, gaps, drills};
  histories.set(database, found);
  return found;
}

function duration(seconds) {
  if (seconds < 60) return seconds.toFixed(1) + " s";
  const whole = Math.round(seconds);
  for (const [size, unit, small, smallUnit] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
    const rest = Math.floor(whole % size / small);
    if (whole >= size) return Math.floor(whole / size) + " " + unit + (rest ? " " + rest + " " + smallUnit : "");
  }
  return whole + " s";
}

function age(moment) {
  const seconds = (data.now - moment) / 1000;
  return seconds >= 0 ? duration(seconds) + " ago" : duration(-seconds) + " ahead";
}

function bytes(count) {
  if (count < 0) return "size unknown";
  if (count < 1000) return count + " B";
  let value = count / 1000, place = 0;
  for (; value >= 1000 && place < 3; place += 1) value /= 1000;
  return value.toFixed(place === 3 ? 2 : 1) + " " + ["kB", "MB", "GB", "TB"][place];
}

const counted = (number, one, many = one + "s") => number.toLocaleString("en") + " " + (number === 1 ? one : many);
const drillWords = (drill) => (drill.passed ? "passed" : "failed") + " in " + duration(drill.seconds) +
  (drill.passed && drill.late ? ", too slow" : "");

// What the drawing shows, for those who do not see it.
function sentence(database) {
  const {backups, windows, gaps, drills} = history(database);
  const good = backups.filter((each) => each.state === "verified").length;
  const parts = [];
  if (!backups.length) parts.push("No backup.");
  else {
    const rest = new Map();
    for (const {state} of backups) if (state !== "verified") rest.set(state, (rest.get(state) || 0) + 1);
    const others = [...rest].map(([state, number]) => ", " + number + " " + state).join("");
    parts.push(counted(backups.length, "backup") + " from " + stamp(backups[0].time, 10) + " to " +
      stamp(backups[backups.length - 1].time, 10) + ": " + good + " verified" + others + ".");
  }
  if (windows.length) {
    parts.push("Archive: any moment from " + stamp(windows[0].from) + " to " + stamp(windows[windows.length - 1].to) +
      (gaps.length ? " except for " + counted(gaps.length, "gap") + "." : ", without a gap."));
  }
  if (drills.length) {
    const last = drills[drills.length - 1];
    parts.push(counted(drills.length, "drill") + ", the last one " + age(last.time) + ": " + drillWords(last) + ".");
  } else parts.push("No drill.");
  return parts.join(" ");
}

// The steps of an axis on which each label has room.
function ticks(width, room) {
  const start = data.now - span, found = [];
  const step = [1, 2, 3, 6, 12, 24, 48, 168, 336].map((hours) => hours * HOUR)
    .find((size) => size / span * width >= room);
  if (step) {
    const shift = step >= 168 * HOUR ? 4 * DAY : 0; // weeks begin on Monday; 1970 began on a Thursday
    for (let at = Math.ceil((start - shift) / step) * step + shift; at <= data.now; at += step) {
      const day = new Date(at);
      const midnight = at % DAY === 0;
      found.push([at, midnight ? day.getUTCDate() + " " + MONTHS[day.getUTCMonth()] : stamp(at).slice(11)]);
    }
    return found;
  }
  const every = [1, 2, 3, 6, 12, 24, 60, 120, 600].find((months) => months * 30 * DAY / span * width >= room) || 1200;
  const first = new Date(start);
  for (let month = first.getUTCFullYear() * 12 + first.getUTCMonth() + 1; ; month += 1) {
    const at = Date.UTC(Math.floor(month / 12), month % 12, 1);
    if (at > data.now) return found;
    if (month % every === 0) {
      found.push([at, (every < 12 ? MONTHS[month % 12] + " " : "") + Math.floor(month / 12)]);
    }
  }
}

const EDGE = 7; // so that a mark at the end is whole
// A moment's place from left to right. What a clock that is ahead has written stands at the end.
const placing = (left, width) => (moment) =>
  Math.round((left + Math.min(1, (moment - data.now + span) / span) * (width - left - EDGE)) * 10) / 10;

function axis(picture, left, width, height, top, room) {
  const place = placing(left, width);
  let path = "", taken = -Infinity;
  for (const [at, label] of ticks(width - left - EDGE, room)) {
    const x = place(at), broad = label.length * 6.5;
    path += "M" + x + " " + top + "V" + (height - 14);
    const from = Math.max(left - EDGE, Math.min(x - broad / 2, width - broad));
    if (from < taken + 8) continue;
    taken = from + broad;
    const text = draw("text", {x: from + broad / 2, y: height - 3, "text-anchor": "middle"});
    text.textContent = label;
    picture.append(text);
  }
  picture.prepend(draw("path", {class: "tick", d: path || "M0 0"}));
}

// One picture: drills above, backups in the middle, the archive below.
function timeline(database, width, large) {
  const {backups, windows, gaps, drills} = history(database);
  const labels = large || cards();
  const left = large ? 62 : EDGE, body = large ? 84 : 40, height = body + (labels ? 16 : 0);
  const place = placing(left, width), start = data.now - span;
  const [drillAt, from, to, bar, barEnd] = large ? [13, 28, 48, 62, 74] : [6, 12, 24, 29, 35];
  const middle = (from + to) / 2;
  const paths = {window: "", gap: "", verified: "", bad: "", passed: "", slow: "", failed: "", older: ""};
  const block = (kind, {from: begin, to: end}, least, more) => {
    if (end < start || begin > data.now) return;
    const x = Math.max(place(begin), left), until = Math.min(place(end), width - EDGE);
    const broad = Math.max(until - x, least);
    paths[kind] += "M" + Math.min(x, width - EDGE - broad).toFixed(1) + " " + (bar - more) + "h" + broad.toFixed(1) +
      "v" + (barEnd - bar + 2 * more) + "h" + (-broad).toFixed(1) + "z";
  };
  for (const each of windows) block("window", each, 1, 0);
  for (const each of gaps) block("gap", each, 4, 2);
  const arrow = (y) => "M" + (left - 1) + " " + (y - 4) + "v8l-5-4z";
  for (const each of backups) {
    const x = place(each.time);
    if (each.time < start) paths.older = arrow(middle);
    else if (each.state === "verified") paths.verified += "M" + (x - 1) + " " + from + "h2v" + (to - from) + "h-2z";
    else paths.bad += "M" + (x - 4) + " " + (middle - 4) + "l8 8m0-8l-8 8";
  }
  if (drills.some(({time}) => time < start)) paths.older += arrow(drillAt);
  for (const each of drills) {
    const x = place(each.time);
    if (each.time < start) continue;
    if (!each.passed) paths.failed += "M" + (x - 4) + " " + (drillAt - 4) + "h8v8h-8zl8 8m0-8l-8 8";
    else paths[each.late ? "slow" : "passed"] += "M" + (x - 4) + " " + (drillAt - 4) + "h8l-4 8z";
  }
  const picture = draw("svg", {
    role: "img", "aria-label": sentence(database), viewBox: "0 0 " + width + " " + height, width, height,
  });
  picture.append(draw("path", {class: "ground", d: "M" + left + " " + middle + "H" + (width - EDGE)}));
  for (const [kind, d] of Object.entries(paths)) if (d) picture.append(draw("path", {class: kind, d}));
  if (labels) axis(picture, left, width, height, 0, 62);
  else picture.prepend(draw("path", {
    class: "tick", d: ticks(width - 2 * EDGE, 62).map(([at]) => "M" + place(at) + " 0V" + body).join("") || "M0 0",
  }));
  if (large) {
    for (const [text, y] of [["Drills", drillAt], ["Backups", middle], ["Archive", (bar + barEnd) / 2]]) {
      const label = draw("text", {x: 0, y: y + 4});
      label.textContent = text;
      picture.append(label);
    }
  }
  return picture;
}

// What lies nearest to a place in the large picture, in words.
function nearest(database, picture, event) {
  const box = picture.getBoundingClientRect(), width = picture.viewBox.baseVal.width;
  const reach = 8 * span / width;
  const moment = data.now - span + ((event.clientX - box.left) / box.width * width - 62) / (width - 62 - EDGE) * span;
  const {backups, windows, gaps, drills} = history(database);
  const y = (event.clientY - box.top) / box.height * picture.viewBox.baseVal.height;
  if (y > 54) {
    const inside = ({from, to}) => from - reach <= moment && moment <= to + reach;
    const gap = gaps.find(inside), window = windows.find(inside);
    return gap ? gapWords(gap) : window ? "Any moment " + range(window) : "";
  }
  const best = (list) => list.reduce((found, each) =>
    Math.abs(each.time - moment) < (found ? Math.abs(found.time - moment) : reach) ? each : found, null);
  if (y < 22) {
    const drill = best(drills);
    return drill ? "Drill " + stamp(drill.time, 19) + " UTC, " + drillWords(drill) : "";
  }
  const backup = best(backups);
  return backup ? "Backup " + stamp(backup.time, 19) + " UTC, " + backup.state + ", " + bytes(backup.size) : "";
}

const range = ({from, to}) => stamp(from, 19) + " to " + stamp(to, 19) + " UTC";
const gapWords = (gap) => "Gap " + range(gap) + " (" + duration((gap.to - gap.from) / 1000) + "): " + gap.reason;
"""
