// What the page says to a person: a toast that goes by itself, and one for a failure, which stays until it is closed.

import { h } from "./dom.js";

const STAY = 4000;
let stack = null;

/** It was done. */
export function say(words) {
  const toast = show(words, "toast");
  setTimeout(() => toast.remove(), STAY);
}

/** It went wrong: `error` is an Error or words. */
export function complain(error) {
  show(error instanceof Error ? error.message : error, "toast bad");
}

function show(words, kind) {
  if (!stack) document.body.append((stack = h("div", { class: "toasts", role: "status", "aria-live": "polite" })));
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: () => toast.remove() } }, "×");
  const toast = h("div", { class: kind }, h("span", null, words), close);
  stack.append(toast);
  return toast;
}

/** Puts `text` on the clipboard and says so; `what` names it ("Call-ID"). */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
  } catch (error) {
    complain(`${what} was not copied: ${error.message}. A browser allows it on https and on localhost only.`);
  }
}
