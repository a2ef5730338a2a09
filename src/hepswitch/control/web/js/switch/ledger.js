// The books: every sum that must hold, with its parts in words, and what the route did. Not here: the arithmetic (`books`).

import { h } from "../dom.js";
import { count } from "../figures.js";
import { TIPS, routed, sums } from "./books.js";
import { reasons } from "./states.js";
import { keyed, put, table } from "./table.js";

const HOLDS = ["✓", { tone: "good", tip: "This sum holds." }];
const FAILS = ["≠", { tone: "bad", tip: "This sum does not hold: packets are unaccounted for, which is a fault of hepswitch." }];

/** A number of a sum, quiet where it is 0, with its reasons where it has some. */
function figure(node, { n, tone, reasons: why }) {
  put(node, count(n), { tone: n ? (tone ?? "") : "zero", tip: n && why ? reasons(why) : "" });
}

const part = (sign, word, tip, pick) => ({ name: `${sign} ${word}`.trim(), tip, number: true, draw: (cell, sum) => figure(cell, pick(sum)) });

const COLUMNS = [
  { name: "account", draw: (cell, sum) => put(cell, sum.kind, { tone: "zero" }) },
  { name: "of", mono: true, draw: (cell, sum) => put(cell, sum.name) },
  part("", "accepted", TIPS.accepted, (sum) => sum.whole),
  part("=", "delivered", TIPS.delivered_destination, (sum) => sum.parts[0]),
  part("+", "queued", TIPS.queued, (sum) => sum.parts[1]),
  part("+", "spooled", TIPS.spooled, (sum) => sum.parts[2]),
  part("+", "discarded", TIPS.discarded, (sum) => sum.parts[3]),
  { name: "holds", draw: (cell, sum) => put(cell, ...(sum.holds ? HOLDS : FAILS)) },
  part("", "refused", TIPS.refused_out, (sum) => sum.beside[0]),
];

/** Draws the panel. Gives what shows a look in it. */
export function ledger(panel) {
  const verdict = h("span", { class: "badge" });
  const lines = h("div", { class: "sums" });
  const key = ({ kind, set, name }) => JSON.stringify([kind, set, name]);
  const accounts = table("Accounts", COLUMNS, key, "There is no destination, and no store.");
  panel.append(h("header", null, h("h2", null, "Books"), verdict, h("span", { class: "muted" }, "since the start")), lines, accounts.element);
  return ({ book }) => {
    put(verdict, book.balanced ? "balanced" : "NOT BALANCED");
    verdict.className = `badge ${book.balanced ? "good" : "bad"}`;
    const [received, ...outlets] = sums(book);
    const route = { kind: "route", parts: [], beside: routed(book) };
    keyed(lines, [received, route], ({ kind }) => kind, makeLine, drawLine);
    accounts.show(outlets);
  };
}

const makeLine = () => h("p", { class: "sum" }, h("span", { class: "kind muted" }), h("span", { class: "terms" }), h("span"));

/** A sum in a line: "received 7 = malformed 2 + refused 0 + routed 5; lost in the kernel 0". */
function drawLine(node, sum) {
  const [kind, terms, mark] = node.children;
  put(kind, sum.kind);
  const row = [
    ...(sum.whole ? [{ ...sum.whole, sign: "" }] : []),
    ...sum.parts.map((term, place) => ({ ...term, sign: place ? "+" : "=" })),
    ...sum.beside.map((term, place) => ({ ...term, sign: sum.whole || place ? "·" : "" })),
  ];
  keyed(terms, row, ({ word }) => word, () => h("span", { class: "term" }, h("i"), h("span"), h("b")), drawTerm);
  if (sum.whole) put(mark, ...(sum.holds ? HOLDS : FAILS));
}

function drawTerm(node, term) {
  const [sign, word, number] = node.children;
  put(sign, term.sign);
  put(word, term.word, { tip: term.tip });
  figure(number, term);
}
