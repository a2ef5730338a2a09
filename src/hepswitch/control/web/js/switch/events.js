// The latest warnings and errors of all processes, those of the route script with its line. Not here: the whole log.

import { h } from "../dom.js";
import { micros, stamp } from "../time.js";
import { put, table } from "./table.js";

const TONES = { warning: "odd", error: "bad", critical: "bad" };

const COLUMNS = [
  { name: "at", mono: true, draw: (cell, row) => put(cell, stamp(micros(row.at))) },
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
  return ({ events: { events: found } }) => rows.show(told(found));
}

/** With a key each: two that say the same at the same moment are two. */
function told(found) {
  const times = new Map();
  return found.map((row) => {
    const said = JSON.stringify(row);
    times.set(said, (times.get(said) ?? 0) + 1);
    return { ...row, key: said + times.get(said) };
  });
}
