// The processes of the switch and what they do. Not here: their books.

import { h } from "../dom.js";
import { put, table } from "./table.js";

const COLUMNS = [
  { name: "process", draw: (cell, row) => put(cell, row.kind) },
  { name: "pid", number: true, mono: true, draw: (cell, row) => put(cell, String(row.pid)) },
];

/** Draws the panel. Gives what shows a look in it. */
export function processes(panel) {
  const rows = table("Processes", COLUMNS, (row) => String(row.pid), "None.");
  panel.append(h("header", null, h("h2", null, "Processes")), rows.element);
  return ({ status }) => rows.show(status.processes);
}
