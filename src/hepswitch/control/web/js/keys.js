// The keyboard: one table of keys, which is also the help that `?` shows. While somebody types in a field only Escape counts.

import { h } from "./dom.js";

const PATIENCE = 1000; // ms between the two keys of "g s"
const SHOWN = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "Space" };
const bound = [];
let [first, since] = ["", 0];

/** Binds keys to an action. `keys`: "j", "g s" (one after the other), or a list of such. `words` is its line in the help.
 *  A key that was bound before does what it is bound to last: a screen may take one of the frame's. */
export function bind(keys, words, run) {
  const mine = [keys].flat();
  for (const action of bound) action.keys = action.keys.filter((key) => !mine.includes(key));
  bound.push({ keys: mine, words, run });
}

/** Shows what the keyboard does. */
export function help() {
  const lines = bound.filter(({ keys }) => keys.length).map(({ keys, words }) => [
    h("dt", null, keys.map((key, place) => [place ? " " : null, (key === " " ? [key] : key.split(" ")).map((one) => h("kbd", null, SHOWN[one] ?? one))])),
    h("dd", null, words),
  ]);
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: () => box.close() } }, "×");
  const box = h("dialog", { "aria-label": "Keyboard", on: { close: () => box.remove() } },
    h("header", null, h("h2", null, "Keyboard"), close), h("div", { class: "body" }, h("dl", { class: "keys" }, lines)));
  document.body.append(box);
  box.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const { key, target } = event;
  if (target.matches("input:not([type=checkbox]), textarea, select") && key !== "Escape") return;
  if ((key === "Enter" || key === " ") && target.matches("button, a, summary, input")) return;
  const pair = event.timeStamp - since < PATIENCE ? `${first} ${key}` : "";
  [first, since] = [key, event.timeStamp];
  const action = bound.find(({ keys }) => keys.includes(pair)) ?? bound.find(({ keys }) => keys.includes(key));
  if (!action) return;
  event.preventDefault();
  action.run(event);
});
