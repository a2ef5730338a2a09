// The dispatcher sets: each node with its state, what waits for it and its last error, and the buttons that change it.
// Not here: the destinations of traces (`traces`).

import { h } from "../dom.js";
import { count, perSecond } from "../figures.js";
import { ago, stamp } from "../time.js";
import { dialog, sure } from "./actions.js";
import { TIPS, total } from "./books.js";
import { lost, tone } from "./states.js";
import { buttons, put, table } from "./table.js";

const STATES = {
  enabled: "enabled: gets packets while it is up",
  paused: "paused: takes packets and sends none",
  disabled: "disabled: gets no new packets and delivers what it holds",
};

/** Draws the panel. Gives what shows a look in it. */
export function destinations(panel, actions) {
  const rows = table("Destinations", columns(actions), (row) => JSON.stringify([row.set, row.url]), "No destination is configured.");
  panel.append(h("header", null, h("h2", null, "Destinations")), rows.element);
  return (seen) => rows.show(found(seen));
}

/** A row for each node, with what the books say of it. */
function found({ book, per, destinations: sets }) {
  return Object.entries(sets).flatMap(([set, { policy, nodes }]) =>
    nodes.map((node, place) => ({
      ...node, set, policy, first: place === 0, peers: nodes,
      rate: per((seen) => seen.destinations[set]?.nodes?.[node.url]?.delivered),
      discarded: book.destinations[set]?.nodes?.[node.url]?.discarded ?? {},
    })));
}

const columns = (actions) => [
  { name: "set", draw: (cell, row) => put(cell, row.first ? row.set : "", { tip: row.first ? `The policy is ${row.policy}.` : "" }) },
  { name: "node", mono: true, draw: (cell, row) => put(cell, row.url) },
  { name: "state", draw: (cell, row) => put(cell, words(row), { tone: tone(row.state), tip: `since ${stamp(row.since * 1e6, 0)}` }) },
  { name: "weight", tip: "Its share among the nodes of its priority, where the policy looks at it.", number: true, draw: (cell, row) => put(cell, String(row.weight)) },
  { name: "priority", tip: "Nodes of a higher priority are taken first.", number: true, draw: (cell, row) => put(cell, String(row.priority)) },
  { name: "rate", tip: "Packets delivered a second.", number: true, draw: (cell, row) => put(cell, perSecond(row.rate)) },
  { name: "delivered", tip: TIPS.delivered_destination, number: true, draw: (cell, row) => put(cell, count(row.delivered)) },
  { name: "queued", tip: TIPS.queued, number: true, draw: (cell, row) => put(cell, count(row.queued), waits(row.queued)) },
  { name: "spooled", tip: TIPS.spooled, number: true, draw: (cell, row) => put(cell, count(row.spooled), waits(row.spooled)) },
  { name: "discarded", tip: TIPS.discarded, number: true, draw: (cell, row) => put(cell, count(total(row.discarded)), lost(row.discarded, "bad")) },
  { name: "last error", wide: true, draw: (cell, row) => put(cell, row.last_error || "") },
  ...(actions.may ? [{ name: "change", draw: (cell, row) => buttons(cell, offered(row, actions)) }] : []),
];

const waits = (n) => (n ? { tone: "note" } : {});

/** The state, and what the health is below it where that is another word. */
function words(row) {
  const health = row.health === row.state ? "" : ` (${row.health})`;
  return `${row.state}${health}, ${ago(row.since * 1e6)}`;
}

function offered(row, actions) {
  const first = row.state === "disabled" || row.state === "paused"
    ? ["Enable", () => change(row, { state: "enabled" }, actions)]
    : ["Disable", () => disable(row, actions)];
  return [first, ["Change…", () => edit(row, actions)]];
}

async function disable(row, actions) {
  if (await harmless(row)) await change(row, { state: "disabled" }, actions);
}

/** Whether another node of the set is active, or the person wants it all the same. */
async function harmless(row) {
  if (row.peers.some((node) => node.url !== row.url && node.state === "active")) return true;
  const ask = `No other node of ${row.set} is active. Without ${row.url} its packets go to its fallback, wait, or are refused.`;
  return sure("Disable the last active node?", ask, "Disable it");
}

/** Makes the change, when it is one. */
function change(row, wanted, actions) {
  const done = Object.entries(wanted).map(([key, value]) => `${key} ${value}`).join(", ");
  return actions.make("/destinations", { set: row.set, node: row.url, ...wanted }, `${row.set} ${row.url}: ${done}`, (seen) => {
    const node = seen.destinations[row.set]?.nodes.find(({ url }) => url === row.url);
    return node && Object.entries(wanted).every(([key, value]) => (key === "state" ? administration(node) : node[key]) === value);
  });
}

/** What the operator wants of a node; its health shows when it is enabled. */
const administration = ({ state }) => (state === "disabled" || state === "paused" ? state : "enabled");

function edit(row, actions) {
  const now = { state: administration(row), weight: row.weight, priority: row.priority };
  const form = h("form", { class: "fields", on: { submit } },
    field("State", h("select", { name: "state" }, Object.entries(STATES).map(([state, text]) =>
      h("option", { value: state, selected: state === now.state }, text)))),
    field("Weight", h("input", { name: "weight", type: "number", min: "0.000001", step: "any", required: true, value: now.weight })),
    field("Priority", h("input", { name: "priority", type: "number", step: "1", required: true, value: now.priority })),
    h("p", { class: "muted" }, "It holds until the switch ends; the configuration file stays as it is."),
    h("div", { class: "row" }, h("span", { class: "space" }), h("button", { class: "primary" }, "Change")));
  const box = dialog(row.url, form);

  async function submit(event) {
    event.preventDefault();
    const said = new FormData(form);
    const all = { state: said.get("state"), weight: Number(said.get("weight")), priority: Number(said.get("priority")) };
    const wanted = Object.fromEntries(Object.entries(all).filter(([key, value]) => value !== now[key]));
    box.close();
    if (!Object.keys(wanted).length) return;
    if (wanted.state === "disabled" && !(await harmless(row))) return;
    await change(row, wanted, actions);
  }
}

const field = (name, input) => h("label", { class: "field" }, h("span", null, name), input);
