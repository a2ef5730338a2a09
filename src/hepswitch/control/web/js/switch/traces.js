// The traces: what each sends where and how much, started, stopped and switched. Not here: starting one (`trace_form`).

import { h } from "../dom.js";
import { count, perSecond, whole } from "../figures.js";
import { now } from "../time.js";
import { buttons, put, table } from "./table.js";
import { traceForm } from "./trace_form.js";

/** Draws the panel. Gives what shows a look in it. */
export function traces(panel, actions) {
  const state = h("span", { class: "muted" });
  const bar = h("div", { class: "actions" });
  const rows = table("Traces", columns(actions), (row) => row.id, "No trace is configured, and none was started.");
  panel.append(h("header", null, h("h2", null, "Traces"), state, h("span", { class: "space" }), bar), rows.element);
  return (seen) => {
    const { on, traces: all, calls, evicted } = seen.traces;
    const cut = Object.values(evicted).reduce((sum, n) => sum + n, 0);
    const words = [`tracing is ${on ? "on" : "off"}`, `${count(calls)} calls being traced`, cut && `${count(cut)} cut short`];
    put(state, words.filter(Boolean).join(" · "), { tone: on ? "" : "odd" });
    if (actions.may) {
      buttons(bar, [["Start a trace…", () => traceForm(seen, actions)], [on ? "Switch tracing off" : "Switch tracing on", () => switchTo(!on, null, actions)]]);
    }
    rows.show(Object.entries(all).map(([id, row]) => ({ id, ...row, rate: seen.per((book) => book.traces[id]?.packets) })));
  };
}

const columns = (actions) => [
  { name: "trace", draw: (cell, row) => put(cell, row.id) },
  { name: "state", draw: (cell, row) => put(cell, row.on ? "on" : row.dynamic ? "over" : "off", { tone: row.on ? "good" : "off" }) },
  { name: "to", mono: true, draw: (cell, row) => put(cell, row.to.join(" ")) },
  { name: "looks for", wide: true, mono: true, draw: (cell, row) => put(cell, wanted(row)) },
  { name: "scope", draw: (cell, row) => put(cell, row.scope) },
  { name: "types", draw: (cell, row) => put(cell, row.types.join(", ") || "all") },
  { name: "calls", tip: "Transactions and dialogs begun.", number: true, draw: (cell, row) => put(cell, count(row.calls)) },
  { name: "packets", tip: "Packets handed to its destinations.", number: true, draw: (cell, row) => put(cell, count(row.packets), { tip: sip(row) }) },
  { name: "rate", number: true, draw: (cell, row) => put(cell, perSecond(row.rate)) },
  { name: "refused", tip: "Copies that a destination did not take.", number: true, draw: (cell, row) => put(cell, count(row.refused), row.refused ? { tone: "odd" } : {}) },
  { name: "ends", draw: (cell, row) => put(cell, end(row)) },
  ...(actions.may ? [{ name: "change", draw: (cell, row) => buttons(cell, [offered(row, actions)]) }] : []),
];

const wanted = (row) => row.filter ?? (row.dynamic ? "every call" : "what the route or a rule says");
const sip = ({ requests, replies }) => `${count(requests)} requests, ${count(replies)} replies of SIP`;

function end({ on, dynamic, until, left }) {
  if (!dynamic || !on) return "";
  const ways = [until !== null && `in ${whole(Math.max(until - now() / 1e6, 0))}`, left !== null && `after ${count(left)} packets`];
  return ways.filter(Boolean).join(" or ") || "when stopped";
}

function offered(row, actions) {
  if (row.dynamic) return [row.on ? "Stop" : "Remove", () => stop(row, actions)];
  return [row.on ? "Off" : "On", () => switchTo(!row.on, row.id, actions)];
}

function stop({ id }, actions) {
  return actions.make("/traces/stop", { id }, `Trace ${id} is stopped`, (seen) => !seen.traces.traces[id]);
}

function switchTo(on, id, actions) {
  const body = id === null ? { on } : { on, id };
  const words = id === null ? `Tracing is ${on ? "on" : "off"}` : `Trace ${id} is ${on ? "on" : "off"}`;
  return actions.make("/traces/switch", body, words, ({ traces: { on: all, traces: rows } }) => (id === null ? all : rows[id]?.on) === on);
}
