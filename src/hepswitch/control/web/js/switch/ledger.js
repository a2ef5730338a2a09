// The books: every sum that must hold, with its parts in words, and what the route did. Not here: the arithmetic (`books`).

import { h } from "../dom.js";
import { routed, sums } from "./books.js";
import { count, reasons } from "./figures.js";
import { keyed, put } from "./table.js";

const MARKS = { true: ["✓", "good", "This sum holds."], false: ["≠", "bad", "This sum does not hold: a packet is unaccounted for. Please report it as a bug."] };

/** Draws the panel. Gives what shows a look in it. */
export function ledger(panel) {
  const verdict = h("span", { class: "badge" });
  const lines = h("div", { class: "sums" });
  panel.append(h("header", null, h("h2", null, "Books"), verdict, h("span", { class: "muted" }, "since the start")), lines);
  return ({ book }) => {
    put(verdict, book.balanced ? "balanced" : "NOT BALANCED");
    verdict.className = `badge ${book.balanced ? "good" : "bad"}`;
    const [received, ...outlets] = sums(book);
    const route = { kind: "route", name: "", set: "", parts: [], beside: routed(book) };
    keyed(lines, [received, route, ...outlets], ({ kind, set, name }) => `${kind} ${set} ${name}`, make, draw);
  };
}

const make = () =>
  h("div", { class: "sum" }, h("span", { class: "kind muted" }), h("span", { class: "name cut foreign" }), h("span", { class: "terms" }), h("span", { class: "holds" }));

function draw(node, sum) {
  const [kind, name, terms, mark] = node.children;
  node.classList.toggle("inner", sum.kind === "node");
  put(kind, sum.kind);
  put(name, sum.name);
  const row = [
    ...(sum.whole ? [{ ...sum.whole, sign: "" }] : []),
    ...sum.parts.map((part, place) => ({ ...part, sign: place ? "+" : "=" })),
    ...sum.beside.map((part, place) => ({ ...part, sign: place ? "," : sum.whole ? ";" : "" })),
  ];
  keyed(terms, row, ({ word }) => word, () => h("span", { class: "term" }, h("i"), h("span"), h("b")), drawTerm);
  put(mark, ...(sum.whole ? sign(sum.holds) : ["", {}]));
}

function sign(holds) {
  const [words, tone, tip] = MARKS[holds];
  return [words, { tone, tip }];
}

function drawTerm(node, { sign, word, n, tip, tone, reasons: why }) {
  put(node.children[0], sign);
  put(node.children[1], word, { tip });
  put(node.children[2], count(n), { tone: n ? (tone ?? "") : "zero", tip: n && why ? reasons(why) : "" });
}
