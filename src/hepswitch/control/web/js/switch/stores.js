// The stores: what they took, what waits and since when, what was lost. Not here: what is in them (the Search screen).

import { h } from "../dom.js";
import { count, perSecond, whole } from "../figures.js";
import { TIPS, total } from "./books.js";
import { lost, tone } from "./states.js";
import { put, table } from "./table.js";

const COLUMNS = [
  { name: "store", draw: (cell, row) => put(cell, row.name) },
  { name: "state", wide: true, draw: (cell, row) => put(cell, row.state, { tone: tone(row.state) }) },
  { name: "rate", tip: "Packets delivered a second.", number: true, draw: (cell, row) => put(cell, perSecond(row.rate)) },
  { name: "accepted", tip: TIPS.accepted, number: true, draw: (cell, row) => put(cell, count(row.accepted)) },
  { name: "delivered", tip: TIPS.delivered_store, number: true, draw: (cell, row) => put(cell, count(row.delivered)) },
  { name: "queued", tip: TIPS.queued, number: true, draw: (cell, row) => put(cell, count(row.queued)) },
  { name: "spooled", tip: TIPS.spooled, number: true, draw: (cell, row) => put(cell, count(row.spooled)) },
  { name: "behind", tip: "How long what waits will take at the present rate.", number: true, draw: (cell, row) => put(cell, behind(row)) },
  { name: "discarded", tip: TIPS.discarded, number: true, draw: (cell, row) => put(cell, count(total(row.discarded)), lost(row.discarded, "bad")) },
  { name: "refused", tip: TIPS.refused_out, number: true, draw: (cell, row) => put(cell, count(total(row.refused)), lost(row.refused, "odd")) },
];

function behind({ queued, spooled, rate }) {
  const waiting = queued + spooled;
  if (!waiting) return "0 s";
  if (!rate) return rate === null ? "–" : "stands still";
  return waiting < rate ? "< 1 s" : `≈ ${whole(waiting / rate)}`;
}

/** Draws the panel. Gives what shows a look in it. */
export function stores(panel) {
  const rows = table("Stores", COLUMNS, (row) => row.name, "No store is configured.");
  panel.append(h("header", null, h("h2", null, "Stores")), rows.element);
  return ({ book, per }) =>
    rows.show(Object.entries(book.stores).map(([name, row]) => ({ name, ...row, rate: per((seen) => seen.stores[name]?.delivered) })));
}
