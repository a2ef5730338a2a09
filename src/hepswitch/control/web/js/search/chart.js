// The rate of calls over time: bars, and a brush that chooses a range, by mouse, touch or keyboard. It draws what it is given
// and tells what was chosen. Not here: asking for rates, and what a chosen range means to the question.

import { fill, h, svg } from "../dom.js";
import { clock, date, micros, offset, onZone, span, stamp } from "../time.js";

const HEIGHT = 92;
const TOP = 12;
const FOOT = 16; // the line of times below the bars
const LEAST = 4; // px that a pointer moves before it is a brush
const STEPS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800]; // s between two times below the bars
const ROOM = 84; // px that such a time needs

export class RateChart {
  #holder;
  #line = h("div", { class: "line" });
  #svg;
  #rate = null;
  #at = null; // the bucket below the pointer or the keyboard's cursor
  #from = null; // where the brush began: a bucket
  #choose;
  #widen;

  /** `choose(since, until)` in µs when a range was brushed; `widen()` when the look should be wider. */
  constructor(holder, { choose, widen }) {
    this.#holder = holder;
    this.#choose = choose;
    this.#widen = widen;
    this.#svg = svg("svg", {
      role: "slider", tabindex: 0, "aria-valuenow": 0, "aria-valuemin": 0, "aria-valuemax": 0,
      "aria-label": "Calls over time. Arrows move, Shift and arrows choose a range, Enter looks into it, minus looks wider",
    });
    fill(holder, this.#line, this.#svg);
    this.#listen();
    new ResizeObserver(() => this.#draw()).observe(holder);
    onZone(() => this.#draw());
  }

  /** Shows the answer of /rate. */
  show(rate) {
    this.#rate = { step: rate.step * 1e6, buckets: rate.buckets.map((one) => ({ ...one, at: micros(one.at) })) };
    this.#at = this.#from = null;
    this.#draw();
  }

  get #count() {
    return this.#rate?.buckets.length ?? 0;
  }

  #draw() {
    const width = this.#svg.clientWidth;
    if (!this.#rate || !width) return;
    const { buckets } = this.#rate;
    const most = Math.max(1, ...buckets.map((one) => one.calls));
    const floor = HEIGHT - FOOT;
    const wide = width / Math.max(1, buckets.length);
    const path = (figure) => buckets.map((one, place) => {
      if (!one[figure]) return "";
      const high = Math.max(1.5, (one[figure] / most) * (floor - TOP));
      return `M${(place * wide + 0.5).toFixed(1)} ${floor}v${-high.toFixed(1)}h${Math.max(1, wide - 1).toFixed(1)}v${high.toFixed(1)}z`;
    }).join("");
    fill(this.#svg,
      svg("line", { class: "axis", x1: 0, x2: width, y1: TOP, y2: TOP }), svg("line", { class: "axis", x1: 0, x2: width, y1: floor, y2: floor }),
      svg("path", { class: "bars", d: path("calls") }), svg("path", { class: "bars failed", d: path("failed") }),
      svg("text", { x: 0, y: TOP - 3 }, `${most} in ${length(this.#rate.step)}`), this.#times(width),
      svg("rect", { class: "cursor", y: TOP, height: floor - TOP }), svg("rect", { class: "brush", y: TOP, height: floor - TOP }));
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.#svg.setAttribute("aria-valuemax", Math.max(0, buckets.length - 1));
    this.#mark();
  }

  #times(width) {
    const { buckets, step } = this.#rate;
    if (!buckets.length) return [];
    const [begin, end] = [buckets[0].at, buckets.at(-1).at + step];
    const between = (STEPS.find((one) => (one * 1e6 * width) / (end - begin) >= ROOM) ?? STEPS.at(-1)) * 1e6;
    const shift = offset(begin);
    const texts = [];
    for (let at = Math.ceil((begin + shift) / between) * between - shift; at < end; at += between) {
      const x = ((at - begin) / (end - begin)) * width;
      const words = between >= 86400e6 || clock(at, 0) === "00:00:00" ? date(at).slice(5) : clock(at, 0).slice(0, between < 60e6 ? 8 : 5);
      if (x > 16 && x < width - 16) texts.push(svg("text", { x: x.toFixed(1), y: HEIGHT - 3, "text-anchor": "middle" }, words));
    }
    return texts;
  }

  /** Cursor, brush and the line of words, without drawing the bars again. */
  #mark() {
    const [cursor, brush] = [this.#svg.querySelector(".cursor"), this.#svg.querySelector(".brush")];
    if (!cursor) return;
    const wide = this.#svg.clientWidth / Math.max(1, this.#count);
    const place = (rect, first, last) => {
      rect.setAttribute("x", first * wide);
      rect.setAttribute("width", Math.max(0, last - first + 1) * wide);
    };
    place(cursor, this.#at ?? 0, this.#at ?? -1);
    const [first, last] = this.#from === null ? [0, -1] : this.#range();
    place(brush, first, last);
    const words = this.#words(first, last);
    fill(this.#line, h("span", null, words), h("span", { class: "space" }),
      h("span", { class: "key" }, "calls"), h("span", { class: "key failed", title: "Final status of 300 or more, other than 401, 407 and 487" }, "failed"));
    this.#svg.setAttribute("aria-valuenow", this.#at ?? 0);
    this.#svg.setAttribute("aria-valuetext", words);
  }

  #range() {
    return [Math.min(this.#from, this.#at), Math.max(this.#from, this.#at)];
  }

  #words(first, last) {
    const { buckets, step } = this.#rate;
    if (!buckets.length) return "No time to show";
    const all = this.#from === null && this.#at === null;
    const [begin, end] = last >= first ? [first, last] : all ? [0, buckets.length - 1] : [this.#at, this.#at];
    const sum = (figure) => buckets.slice(begin, end + 1).reduce((total, one) => total + one[figure], 0);
    const [calls, failed] = [sum("calls"), sum("failed")];
    const when = all ? `in ${length(buckets.length * step)}` : `from ${stamp(buckets[begin].at, 0)} to ${clock(buckets[end].at + step, 0)}`;
    return `${calls.toLocaleString("en")} ${calls === 1 ? "call" : "calls"}, ${failed.toLocaleString("en")} failed${calls ? ` (${((100 * failed) / calls).toFixed(1)} %)` : ""} ${when}`;
  }

  #listen() {
    let [down, last] = [null, 0];
    const bucket = (event) => {
      const box = this.#svg.getBoundingClientRect();
      return Math.min(this.#count - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * this.#count)));
    };
    const listeners = {
      pointerdown: (event) => {
        if (event.button || !this.#count) return;
        down = { x: event.clientX, bucket: bucket(event) };
        this.#svg.setPointerCapture(event.pointerId);
      },
      pointermove: (event) => {
        if (!this.#count) return;
        if (down && this.#from === null && Math.abs(event.clientX - down.x) >= LEAST) this.#from = down.bucket;
        this.#at = bucket(event);
        this.#mark();
      },
      pointerup: (event) => {
        const brushed = down && this.#from !== null;
        down = null;
        if (brushed) this.#chosen();
        else if (event.timeStamp - last < 400) this.#widen(); // a double tap is no double click everywhere
        last = brushed ? 0 : event.timeStamp;
      },
      pointercancel: () => { down = null; this.#clear(); },
      pointerleave: () => { if (!down) this.#clear(); },
      blur: () => this.#clear(),
      keydown: (event) => this.#key(event),
    };
    for (const [name, listener] of Object.entries(listeners)) this.#svg.addEventListener(name, listener);
  }

  #key(event) {
    if (!this.#count || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -this.#count, End: this.#count }[event.key];
    if (move) {
      const before = this.#at ?? (move < 0 ? this.#count : -1);
      const inside = (place) => Math.min(this.#count - 1, Math.max(0, place));
      this.#from = event.shiftKey ? (this.#from ?? inside(before)) : null;
      this.#at = inside(before + move);
      this.#mark();
    } else if (event.key === "Enter" && this.#at !== null) {
      this.#from ??= this.#at;
      this.#chosen();
    } else if (event.key === "Escape" && this.#at !== null) {
      this.#clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  #clear() {
    this.#at = this.#from = null;
    if (this.#rate) this.#mark();
  }

  #chosen() {
    const { buckets, step } = this.#rate;
    const [first, last] = this.#range();
    this.#clear();
    this.#choose(buckets[first].at, buckets[last].at + step);
  }
}

/** A length of time in µs as one reads it; whole seconds have no fraction. */
function length(us) {
  return us < 60e6 && us % 1e6 === 0 ? `${us / 1e6} s` : span(us / 1e6);
}
