// The flow as boxes: listeners, the route, and what comes behind it, each with its rate, what waits and what was lost.
// Not here: the lines between them (`wires`), the sums (`sums`).

import { h } from "../dom.js";
import { count, perSecond } from "../figures.js";
import { byReason, isTarget, total } from "./books.js";
import { reasons, tone } from "./states.js";
import { keyed, put } from "./table.js";
import { Wires } from "./wires.js";

const COLUMNS = [["in", "listeners"], ["route", "route"], ["out", "destinations, stores, traces"]];
const MOST = 6; // nodes shown in a box; the table of destinations has all

/** Draws the panel. Gives what shows a look in it. */
export function flow(panel) {
  const columns = COLUMNS.map(([name]) => h("div", { class: `column ${name}` }));
  const heads = COLUMNS.map(([name, words]) => h("h3", { class: name }, words));
  const picture = h("div", { class: "flow" }, heads, columns);
  const wires = new Wires(picture);
  panel.append(h("header", null, h("h2", null, "Flow")), picture);
  return (seen) => {
    const [listeners, route, outlets] = boxes(seen);
    [listeners, [route], outlets].forEach((row, place) => keyed(columns[place], row, (box) => box.key, makeBox, drawBox));
    const drawn = new Map([...picture.querySelectorAll(".box")].map((node) => [node.dataset.key, node]));
    const find = (box) => drawn.get(box.key);
    wires.draw([
      ...listeners.map((box) => ({ from: find(box), to: find(route), rate: box.rate, tone: box.tone })),
      ...outlets.map((box) => ({ from: find(route), to: find(box), rate: box.taken, tone: box.tone })),
    ]);
  };
}

// ── What there is ──

/** A box: {key, name, kind, tone, rate, losses: [[words, n, colour, tip]], waits, nodes}. `taken`: the rate that comes in. */
function boxes({ book, per, destinations, traces, config }) {
  const out = Object.entries(book.destinations).filter(([name]) => !isTarget(name));
  return [
    Object.entries(book.received).map(([url, row]) => listener(url, row, per)),
    route(book.routed, per, config.hep_route),
    [
      ...out.map(([name, row]) => destination(name, row, per, destinations[name])),
      ...Object.entries(book.stores).map(([name, row]) => outlet("store", "stores", name, row, per, tone(row.state))),
      ...tracing(book, per, traces),
    ],
  ];
}

function listener(url, row, per) {
  const losses = [
    ["lost in the kernel", row.kernel_drops, "bad", "The receive buffer was full: raise net.core.rmem_max and receive_buffer."],
    ["malformed", row.malformed, "bad", reasons(row.malformed_reasons)],
    ["refused", total(row.refused), "odd", reasons(row.refused)],
    ["waiting", row.waiting ?? 0, "", "Messages that the stream still has for this listener."],
  ];
  const rate = per((book) => book.received[url]?.packets);
  const away = row.state === "away"; // the servers of a stream
  return { key: `in ${url}`, name: url, kind: away ? "away" : "", tone: away ? "bad" : row.kernel_drops ? "odd" : "good", rate, losses };
}

function route(row, per, { mode, script }) {
  const losses = [
    ["errors", row.errors, "bad", "The route raised an exception: see the errors below."],
    ["unrouted", row.unrouted, "odd", "Neither sent anywhere, nor stored, nor dropped by name."],
    ...byReason(row.dropped).slice(0, 4).map(([reason, n]) => [`dropped: ${reason}`, n, "", "The route dropped them by this name."]),
    ["overwritten by a mask", row.overwritten, "odd", "A mask could not read the payload."],
  ];
  const rate = per((book) => book.routed.packets);
  return { key: "route", name: script?.split("/").at(-1) ?? mode, kind: script ? "" : "mode", tone: row.errors ? "odd" : "good", rate, losses };
}

function outlet(kind, group, name, row, per, colour) {
  const losses = [
    ["discarded", total(row.discarded), "bad", reasons(row.discarded)],
    ["refused", total(row.refused), "odd", reasons(row.refused)],
  ];
  const pick = (key) => per((book) => book[group][name]?.[key]);
  return { key: `${kind} ${name}`, name, kind, tone: colour, taken: pick("accepted"), rate: pick("delivered"), losses, waits: row };
}

function destination(name, row, per, set) {
  const nodes = Object.entries(row.nodes ?? {}).map(([url, node]) => ({
    key: url, name: url, tone: node.state ? tone(node.state) : "off", state: node.state ?? "", waits: node,
    rate: per((book) => book.destinations[name]?.nodes?.[url]?.delivered),
  }));
  const up = nodes.filter((node) => node.tone === "good").length;
  const colour = up === nodes.length ? "good" : up ? "odd" : "bad";
  return { ...outlet("destination", "destinations", name, row, per, colour), kind: set ? set.policy : "taken away", nodes };
}

/** The box of all traces, when there are any. */
function tracing(book, per, traces) {
  const rows = Object.entries(traces.traces);
  if (!rows.length) return [];
  const sum = (key) => per((seen) => Object.values(seen.traces).reduce((all, row) => all + row[key], 0));
  const refused = Object.values(book.traces).reduce((all, row) => all + row.refused, 0);
  const losses = [["refused", refused, "odd", "A destination of a trace did not take them."]];
  const nodes = rows.map(([id, row]) => ({
    key: id, name: id, tone: traces.on && row.on ? "good" : "off", state: traces.on && row.on ? "on" : "off", waits: { queued: 0, spooled: 0 },
    rate: per((seen) => seen.traces[id]?.packets),
  }));
  const on = nodes.some((node) => node.tone === "good");
  return [{ key: "traces", name: "traces", kind: "", tone: on ? "good" : "off", taken: sum("packets"), rate: sum("packets"), losses, nodes }];
}

// ── How it looks ──

function makeBox() {
  return h("div", { class: "box", role: "group" },
    h("div", { class: "head" }, h("span", { class: "dot" }), h("span", { class: "name cut foreign" }), h("span", { class: "kind muted" }), h("span", { class: "rate number" })),
    h("div", { class: "nodes" }), h("div", { class: "marks" }));
}

function drawBox(node, box) {
  const [head, nodes, marks] = node.children;
  node.dataset.tone = box.tone;
  node.setAttribute("aria-label", `${box.name} ${box.kind}`);
  line(head, box);
  put(head.children[2], box.kind);
  const shown = (box.nodes ?? []).slice(0, MOST);
  keyed(nodes, shown, (one) => one.key, makeNode, drawNode);
  const over = (box.nodes?.length ?? 0) - shown.length;
  const waits = shown.length ? [] : waiting(box.waits);
  const more = over > 0 ? [["more", `${count(over)} more below`, "", ""]] : [];
  const losses = box.losses.filter(([, n]) => n).map(([words, n, colour, tip]) => [words, `${count(n)} ${words}`, colour, tip]);
  keyed(marks, [...more, ...waits, ...losses], ([key]) => key, () => h("span", { class: "mark" }), (mark, [, words, colour, tip]) => put(mark, words, { tone: colour, tip }));
}

function makeNode() {
  return h("div", { class: "node" }, h("span", { class: "dot" }), h("span", { class: "name cut foreign" }), h("span", { class: "state" }), h("span", { class: "wait" }), h("span", { class: "rate number" }));
}

function drawNode(node, one) {
  line(node, one);
  const waits = waiting(one.waits).map(([, words]) => words);
  put(node.children[2], one.tone === "good" ? "" : one.state, { tone: one.tone });
  put(node.children[3], waits.join(", "));
}

function line(node, { name, tone: colour, rate }) {
  node.firstChild.className = `dot ${colour}`;
  put(node.children[1], name);
  put(node.lastChild, perSecond(rate));
}

/** What waits, in memory and on disk, as marks. */
function waiting(row) {
  if (!row) return [];
  return [
    ["queued", row.queued, "In memory, or on its way."],
    ["spooled", row.spooled, "On disk, until the other side takes it."],
  ].filter(([, n]) => n).map(([word, n, tip]) => [word, `${count(n)} ${word}`, "note", tip]);
}
