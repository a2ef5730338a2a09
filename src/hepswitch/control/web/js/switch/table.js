// Tables whose rows stay the same elements while their figures change, so that focus, hover and the place on the page last
// from look to look. Not here: what is in them.

import { h } from "../dom.js";
import { explain } from "./tips.js";

/** Makes the children of `parent` those of `items`, in their order. `key(item)` tells them apart, `make()` gives the element
 *  of a new one, `update(element, item)` lets it say what is so now. */
export function keyed(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, place) => {
    const name = key(item);
    const child = known.get(name) ?? make();
    known.delete(name);
    child.dataset.key = name;
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
    update(child, item);
  });
  for (const child of known.values()) child.remove();
}

/** Lets `node` say `text`, in a colour, with a note. Nothing happens where all of that is so already. */
export function put(node, text, { tone = "", tip = "" } = {}) {
  if (node.textContent !== text) node.textContent = text;
  if ((node.dataset.tone ?? "") !== tone) node.dataset.tone = tone;
  explain(node, tip);
}

/**
 * A table. A column is {name, tip, number, wide, draw(cell, row)}; `key(row)` tells rows apart; `empty` are the words for
 * none. Gives {element, show(rows)}.
 */
export function table(label, columns, key, empty) {
  const head = columns.map((column) => {
    const cell = h("th", { scope: "col", class: kind(column) }, h("span", null, column.name));
    explain(cell.firstChild, column.tip ?? "");
    return cell;
  });
  const body = h("tbody");
  const none = h("p", { class: "none muted" }, empty);
  const grid = h("table", { "aria-label": label }, h("thead", null, h("tr", null, head)), body);
  const make = () => h("tr", null, columns.map((column) => h("td", { class: kind(column), dataset: { name: column.name } })));
  const update = (line, row) => columns.forEach((column, place) => column.draw(line.cells[place], row));
  return {
    element: h("div", { class: "rows" }, grid, none),
    show(rows) {
      keyed(body, rows, key, make, update);
      grid.hidden = !rows.length;
      none.hidden = Boolean(rows.length);
    },
  };
}

const kind = (column) => [column.number && "number", column.wide && "wide", column.mono && "mono"].filter(Boolean).join(" ");

/** Fills `cell` with the buttons `wanted`: [words, act, danger] each. One that stays keeps the focus. */
export function buttons(cell, wanted) {
  const bar = cell.firstElementChild ?? cell.appendChild(h("div", { class: "bar" }));
  keyed(bar, wanted, ([words]) => words, button, (node, [words, act, danger]) => {
    put(node, words);
    node.classList.toggle("danger", Boolean(danger));
    node.act = act;
  });
}

function button() {
  const node = h("button", { type: "button", class: "small", on: { click: () => node.act() } });
  return node;
}
