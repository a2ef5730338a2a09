// The list of packets: as many rows as fit on the screen are elements, which stand for others when it is scrolled. It keeps to
// its end until somebody scrolls up or chooses a row. Not here: what the rows are (`tail`), what they say (`packet`).

import { fill, h } from "../dom.js";
import { onZone } from "../time.js";
import { about, agent, at, badge, call, hosts, users } from "./packet.js";

const SPARE = 4; // rows drawn above and below what can be seen

export class List {
  #tail;
  #box;
  #opened;
  #told;
  #following = true;
  #lines = [];
  #chosen = null; // the number of a row
  #base = 0; // the number of the row at the top of the list
  #due = false;
  #body = h("div", { class: "lines" });

  /** `opened(packet)`: somebody wants to see all of it. `following(yes)`: whether the list keeps to its end has changed. */
  constructor(tail, box, { opened, following }) {
    this.#tail = tail;
    this.#box = box;
    this.#opened = opened;
    this.#told = following;
    box.append(this.#body);
    box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    box.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.draw()).observe(box);
    onZone(() => this.#again());
  }

  /** The rows have changed: they are drawn with the next frame. */
  draw() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#drawNow();
    });
  }

  /** The next or former row, or none. */
  move(step) {
    const { rows, first } = this.#tail;
    if (!rows.length) return;
    const last = first + rows.length - 1;
    const from = this.#chosen ?? (step < 0 ? last + 1 : last);
    this.#chosen = Math.min(Math.max(from + step, first), last);
    this.#follow(false);
    this.#show(this.#chosen);
    this.draw();
  }

  /** Opens the row that is chosen. */
  open() {
    const packet = this.#tail.rows[this.#chosen - this.#tail.first];
    if (this.#chosen !== null && packet && packet.gap === undefined) this.#opened(packet);
  }

  /** No row is chosen. */
  leave() {
    this.#chosen = null;
    this.draw();
  }

  /** To the end, and stay there. */
  toEnd() {
    this.#follow(true);
    this.draw();
  }

  get #height() {
    return parseFloat(getComputedStyle(this.#box).getPropertyValue("--line-height"));
  }

  #drawNow() {
    const box = this.#box;
    const height = this.#height;
    this.#tail.prune();
    const { rows, first } = this.#tail;
    if (this.#base !== first && !this.#following) box.scrollTop -= (first - this.#base) * height; // what is looked at stays
    this.#base = first;
    this.#body.style.height = `${rows.length * height}px`;
    if (this.#following) box.scrollTop = box.scrollHeight;
    const from = Math.max(Math.floor(box.scrollTop / height) - SPARE, 0);
    const until = Math.min(Math.ceil((box.scrollTop + box.clientHeight) / height) + SPARE, rows.length);
    this.#spread(Math.max(until - from, 0));
    this.#lines.forEach((line, place) => draw(line, rows[from + place], first + from + place, (from + place) * height, this.#chosen));
    box.setAttribute("aria-rowcount", rows.length);
    if (this.#chosen === null) box.removeAttribute("aria-activedescendant");
    else box.setAttribute("aria-activedescendant", `packet-${this.#chosen}`);
    this.#tail.drawn();
  }

  #again() {
    for (const line of this.#lines) line.packet = null;
    this.draw();
  }

  #spread(count) {
    while (this.#lines.length > count) this.#lines.pop().remove();
    while (this.#lines.length < count) {
      const line = h("div", { class: "packet", role: "row" });
      this.#lines.push(line);
      this.#body.append(line);
    }
  }

  #scrolled() {
    const box = this.#box;
    this.#follow(box.scrollTop + box.clientHeight >= box.scrollHeight - this.#height / 2);
    this.draw();
  }

  #follow(yes) {
    if (yes === this.#following) return;
    this.#following = yes;
    this.#told(yes);
  }

  #show(number) {
    const top = (number - this.#tail.first) * this.#height;
    const box = this.#box;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + this.#height > box.scrollTop + box.clientHeight) box.scrollTop = top + this.#height - box.clientHeight;
  }

  #clicked(event) {
    const line = event.target.closest(".packet");
    if (!line || getSelection().toString()) return;
    this.#chosen = line.number;
    this.#follow(false);
    this.draw();
    this.open();
  }
}

function draw(line, packet, number, top, chosen) {
  line.style.transform = `translateY(${top}px)`;
  line.setAttribute("aria-selected", String(number === chosen));
  if (line.packet === packet) return;
  [line.packet, line.number, line.id] = [packet, number, `packet-${number}`];
  line.setAttribute("aria-rowindex", number + 1);
  line.classList.toggle("gap", packet.gap !== undefined);
  fill(line, packet.gap === undefined ? cells(packet) : h("span", { role: "gridcell" }, packet.gap));
}

function cells(packet) {
  const cell = (name, ...words) => h("span", { class: `${name} cut foreign`, role: "gridcell" }, words);
  return [
    cell("at mono", at(packet)),
    cell("what", badge(packet), " ", h("span", { class: "muted" }, about(packet))),
    cell("users", users(packet)),
    cell("hosts mono", hosts(packet)),
    cell("agent", agent(packet)),
    cell("outcome", packet.outcome),
    cell("call mono muted", call(packet)),
  ];
}
