// The latest warnings and errors of all processes, those of the route script with its line. What was said more than once is
// one row. Not here: the whole log.

import { h } from "../dom.js";
import { count } from "../figures.js";
import { micros, stamp } from "../time.js";
import { put, table } from "./table.js";

const TONES = { warning: "odd", error: "bad", critical: "bad" };

const COLUMNS = [
  { name: "last", mono: true, draw: (cell, row) => put(cell, stamp(micros(row.at), 0)) },
  { name: "times", tip: "Among the latest 200.", number: true, draw: (cell, row) => put(cell, count(row.times)) },
  { name: "level", draw: (cell, row) => put(cell, row.level, { tone: TONES[row.level] ?? "" }) },
  { name: "process", draw: (cell, row) => put(cell, row.process) },
  { name: "event", draw: (cell, row) => put(cell, row.event) },
  { name: "details", wide: true, mono: true, draw: (cell, row) => put(cell, details(row.details)) },
];

const details = (rows) => Object.entries(rows).map(([name, text]) => `${name}=${text}`).join("  ");

/** Draws the panel. Gives what shows a look in it. */
export function events(panel) {
  const rows = table("Warnings and errors", COLUMNS, (row) => row.key, "None since the start.");
  panel.append(h("header", null, h("h2", null, "Warnings and errors")), rows.element);
  return ({ events: { events: found } }) => rows.show(folded(found));
}

/** Each thing that was said once, with its latest time (`found` begins with that) and how often. */
function folded(found) {
  const said = new Map();
  for (const row of found) {
    const words = Object.entries(row.details).filter(([, text]) => !/^[\d.]+$/.test(text)); // its figures change
    const key = JSON.stringify([row.process, row.level, row.event, words]);
    const known = said.get(key);
    if (known) known.times += 1;
    else said.set(key, { ...row, key, times: 1 });
  }
  return [...said.values()];
}
