// Two messages side by side, line by line, with the words that changed marked. On a phone the sides stand one below the
// other (call.css). Not here: what the difference is (diff.js).

import { h } from "../dom.js";
import { difference } from "./diff.js";
import { visible } from "./text.js";

const MOST = 3000; // rows that are shown
const WORDS = { changed: "changed", gone: "only left", new: "only right" };

/** `left` and `right`: {title, text}. */
export function compared(left, right) {
  const rows = difference(...[left, right].map(({ text }) => visible(text).replace(/[\r\n]+$/, "").split(/\r\n|\n|\r/)));
  const counts = Object.keys(WORDS).map((kind) => [kind, rows.filter((row) => row.kind === kind).length]).filter(([, count]) => count);
  return h("div", { class: "pane" },
    h("p", { class: "counts" }, counts.length ? counts.map(([kind, count]) => h("span", { class: `count ${kind}` }, `${count} ${WORDS[kind]}`))
      : "Both say the same, octet for octet."),
    h("div", { class: "diff foreign", role: "table", "aria-label": "Difference" },
      h("div", { role: "row", class: "titles" }, [left, right].map(({ title }) => h("div", { role: "columnheader" }, title))),
      rows.slice(0, MOST).map((row) => h("div", { role: "row", class: row.kind, "aria-label": WORDS[row.kind] },
        side(row.left, "left"), side(row.right, "right")))),
    rows.length > MOST && h("p", { class: "muted" }, `${rows.length - MOST} more lines are not shown.`));
}

function side(line, place) {
  return h("div", { role: "cell", class: `${place}${line ? "" : " none"}` }, line ? (line.marks ? marked(line) : line.text || "\u00a0") : null);
}

function marked({ text, marks }) {
  const parts = [];
  let end = 0;
  for (const [from, to] of marks) {
    parts.push(text.slice(end, from), h("mark", null, text.slice(from, to)));
    end = to;
  }
  return [...parts, text.slice(end)];
}
