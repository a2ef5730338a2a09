// The lines of the flow picture (SVG): as wide as their rate, in the colour of what is at their end. They are drawn anew when
// the boxes move. Not here: the boxes (`flow`).

import { svg } from "../dom.js";
import { perSecond } from "../figures.js";

const THIN = 1.5;
const WIDE = 12;
const GUTTER = 10; // px at the left of the boxes, in which the lines run when boxes stand below each other

/** The width of a line: each tenfold of the rate is as much wider. */
const width = (rate) => (rate ? Math.min(THIN + 2 * Math.log10(1 + rate), WIDE) : THIN);

export class Wires {
  #wires = [];
  #picture;
  #canvas = svg("svg", { class: "wires", "aria-hidden": "true" });

  constructor(picture) {
    this.#picture = picture;
    picture.prepend(this.#canvas);
    new ResizeObserver(() => this.draw(this.#wires)).observe(picture);
  }

  /** Draws `wires`: {from, to: elements of the picture, rate, tone} each. */
  draw(wires) {
    this.#wires = wires;
    const origin = this.#picture.getBoundingClientRect();
    const place = (element) => {
      const box = element.getBoundingClientRect();
      return { left: box.left - origin.left, right: box.right - origin.left, middle: box.top + Math.min(box.height, 36) / 2 - origin.top };
    };
    while (this.#canvas.children.length > wires.length) this.#canvas.lastChild.remove();
    while (this.#canvas.children.length < wires.length) this.#canvas.append(svg("g", null, svg("path"), svg("text")));
    wires.forEach((wire, number) => draw(this.#canvas.children[number], wire, place(wire.from), place(wire.to)));
  }
}

function draw(group, { rate, tone, to }, from, end) {
  const [path, text] = group.children;
  const below = end.left < from.right;
  group.setAttribute("class", `wire ${rate ? tone : "still"}`);
  path.setAttribute("d", below ? around(from, end) : across(from, end));
  path.style.strokeWidth = `${width(rate)}px`;
  const words = below ? "" : perSecond(rate);
  if (text.textContent !== words) text.textContent = words;
  if (below) return;
  const many = to.parentElement.children.length > 1; // the label is at the end where the lines are apart
  const [near, far] = many ? [end, from] : [from, end];
  const aside = width(rate) / 2 + 4;
  text.setAttribute("x", many ? end.left - 8 : from.right + 8);
  text.setAttribute("y", near.middle + (far.middle < near.middle ? aside + 9 : -aside)); // not where the line comes from
  text.setAttribute("text-anchor", many ? "end" : "start");
}

/** From the right side of a box to the left side of the next. */
function across(from, to) {
  const half = (from.right + to.left) / 2;
  return `M${from.right} ${from.middle}C${half} ${from.middle} ${half} ${to.middle} ${to.left} ${to.middle}`;
}

/** Boxes stand below each other: out to the left, down, and in again. */
function around(from, to) {
  const gutter = from.left - GUTTER;
  return `M${from.left} ${from.middle}H${gutter}V${to.middle}H${to.left}`;
}
