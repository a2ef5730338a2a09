// What a word or a number means: a note that comes up over whatever has it, for the mouse, the keyboard and the finger.

import { h } from "../dom.js";

const GAP = 6;
const tip = h("div", { class: "tip", role: "tooltip", id: "tip", hidden: true });
let owner = null;

/** Gives `node` the note `words`; "" takes it away. */
export function explain(node, words) {
  if ((node.dataset.tip ?? "") === words) return;
  if (words) {
    node.dataset.tip = words;
    node.tabIndex = 0;
  } else {
    delete node.dataset.tip;
    node.removeAttribute("tabindex");
  }
  if (node === owner) show(node);
}

function show(node) {
  hide();
  const words = node?.closest?.("[data-tip]")?.dataset.tip;
  if (!words) return;
  owner = node.closest("[data-tip]");
  tip.textContent = words;
  tip.hidden = false;
  owner.setAttribute("aria-describedby", tip.id);
  const at = owner.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - GAP;
  tip.style.left = `${Math.max(Math.min(at.left, room), GAP)}px`;
  tip.style.top = `${at.bottom + tip.offsetHeight + GAP > innerHeight ? at.top - tip.offsetHeight - GAP : at.bottom + GAP}px`;
}

function hide() {
  owner?.removeAttribute("aria-describedby");
  owner = null;
  tip.hidden = true;
}

document.body.append(tip);
document.addEventListener("pointerover", (event) => show(event.target));
document.addEventListener("focusin", (event) => show(event.target));
document.addEventListener("focusout", hide);
document.addEventListener("scroll", hide, { capture: true, passive: true });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
