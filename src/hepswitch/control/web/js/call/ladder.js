// The ladder: endpoints as columns under a head that stays, one row for each message. Only rows that are in sight are
// elements, so a call of thousands of messages opens like one of ten. Not here: a row's drawing (arrows.js).

import { fill, h } from "../dom.js";
import { clock, micros, span } from "../time.js";
import { drawing, label, silent } from "./arrows.js";
import { coloursOf, legName, rowsOf, rowWith } from "./model.js";
import { oneLine } from "./text.js";

const NARROWEST = 118; // px between two life lines
const WIDEST = 300;
const BEYOND = 600; // px above and below what is in sight that are drawn too
const ENDPOINT_HOST = /^(\[[^\]]*\]|[^:]*)(:\d+)?$/;

/** `on.select(event)`: a row was chosen; `on.open(event)`: its message is wanted.
 *  Gives {element, show(call, view), select(id), step(by), chosen(), row(id), mark(ids), focus()}. */
export function ladder(on) {
  const heads = h("div", { class: "heads" });
  const flow = h("div", { class: "flow", role: "listbox", tabindex: "0", "aria-label": "Messages of the call" });
  const element = h("div", { class: "ladder" }, heads, flow);
  const drawn = new Map(); // place of a row → its element
  let [call, view, colours, rows, columns, wide, laid] = [null, null, null, [], [], 0, 0];
  let [chosen, marked] = [null, []]; // the place of a row; ids of events

  function show(newCall, newView) {
    [call, view] = [newCall, newView];
    rows = rowsOf(call.events, view);
    colours = coloursOf(call);
    chosen = null;
    lay();
  }

  /** Columns take the room that there is, between NARROWEST and WIDEST; time keeps its own at the left. */
  function lay() {
    if (!call) return;
    laid = element.clientWidth;
    const margin = parseFloat(getComputedStyle(element).getPropertyValue("--when"));
    const count = Math.max(1, call.endpoints.length);
    const step = Math.min(WIDEST, Math.max(NARROWEST, (laid - margin) / count));
    columns = call.endpoints.map((_, place) => Math.round(step * (place + 0.5)) + 0.5);
    wide = Math.max(Math.round(step * count), laid - margin);
    const total = rows.length ? rows.at(-1).top + rows.at(-1).height : 0;
    fill(heads, h("div", { class: "corner" }, { relative: "since start", delta: "delta", absolute: "time" }[view.time]),
      call.endpoints.map((endpoint, place) => head(endpoint, columns[place], step)));
    heads.style.width = `${margin + wide}px`;
    flow.style.width = `${margin + wide}px`;
    flow.style.height = `${total}px`;
    redraw();
  }

  function redraw() {
    drawn.clear();
    flow.replaceChildren();
    draw();
  }

  /** Makes elements of what came in sight, lets go of what left it. `all`: for paper. */
  function draw(all = false) {
    const [from, to] = all ? [0, Infinity]
      : [element.scrollTop - heads.offsetHeight - BEYOND, element.scrollTop + element.clientHeight + BEYOND];
    for (const [place, node] of drawn) {
      if (rows[place].top + rows[place].height >= from && rows[place].top <= to) continue;
      node.remove();
      drawn.delete(place);
    }
    for (let place = firstAt(from); place < rows.length && rows[place].top <= to; place += 1) {
      if (drawn.has(place)) continue;
      const node = rows[place].event ? message(rows[place], place) : silence(rows[place]);
      node.style.top = `${rows[place].top}px`;
      drawn.set(place, node);
      flow.append(node);
    }
    flow.setAttribute("aria-activedescendant", drawn.has(chosen) ? `row-${chosen}` : "");
  }

  function firstAt(y) {
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].top + rows[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  function message(row, place) {
    const { event } = row;
    const picked = [event, ...row.repeats].some(({ id }) => marked.includes(id));
    const ends = [event.source, event.target].map((end) => oneLine(call.endpoints[end]?.label ?? "?"));
    const words = `${time(row)} ${label(row)}, ${ends[0]} to ${ends[1]}${row.repeats.length ? `, ${row.repeats.length + 1} times` : ""}`;
    return h("div", {
      id: `row-${place}`, class: `event${event.retransmission ? " repeated" : ""}`, role: "option", title: words,
      "aria-selected": String(place === chosen), "aria-label": words, "aria-posinset": place + 1, "aria-setsize": rows.length,
      dataset: { id: event.id }, on: { click: () => { choose(place); on.open(event); } },
    }, h("div", { class: "when" }, legMark(event.leg), picked && h("span", { class: "picked" }, "◆"), h("span", null, time(row))),
    drawing(row, columns, wide, colours.event(event)));
  }

  const silence = (row) => h("div", { class: "gap", role: "presentation" },
    h("div", { class: "when" }, h("span", null, `⋮ ${span(row.silence)}`)), silent(row, columns, wide));

  function legMark(leg) {
    if (call.legs.length < 2) return null;
    return leg === null || leg === undefined ? null : h("span", { class: "leg", style: { "--ink": colours.leg(leg) } }, legName(leg));
  }

  function time(row) {
    if (view.time === "absolute") return clock(row.at, 3);
    if (view.time === "delta") return signed((row.at - (row.before ?? row.at)) / 1e6, 6);
    return signed((row.at - micros(call.events[0].at)) / 1e6, 3);
  }

  function choose(place) {
    const before = chosen;
    chosen = place;
    for (const one of [before, chosen]) drawn.get(one)?.setAttribute("aria-selected", String(one === chosen));
    flow.setAttribute("aria-activedescendant", drawn.has(chosen) ? `row-${chosen}` : "");
    if (rows[place]) on.select(rows[place].event);
  }

  /** Chooses the row with that event, and brings it in sight. */
  function select(id) {
    const place = rowWith(rows, id);
    if (place < 0) return choose(null);
    const room = element.clientHeight - heads.offsetHeight;
    const { top, height } = rows[place];
    if (top < element.scrollTop || top + height > element.scrollTop + room) {
      element.scrollTop = top - room / 2;
      draw();
    }
    return choose(place);
  }

  /** The next message in that direction; `by` may be more than 1. */
  function step(by) {
    const places = [...rows.keys()].filter((place) => rows[place].event);
    if (!places.length) return;
    const now = chosen === null ? (by > 0 ? -1 : places.length) : places.indexOf(chosen);
    const next = Math.min(places.length - 1, Math.max(0, now + by));
    select(rows[places[next]].event.id);
  }

  let waiting = false;
  element.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }, { passive: true });
  new ResizeObserver(() => (element.clientWidth === laid ? draw() : lay())).observe(element);
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => redraw());

  return {
    element, show, select, step,
    chosen: () => rows[chosen]?.event ?? null,
    row: (id) => rows[rowWith(rows, id)] ?? null,
    focus: () => flow.focus({ preventScroll: true }),
    mark(ids) {
      marked = ids;
      redraw();
    },
  };
}

function head(endpoint, x, step) {
  const text = oneLine(endpoint.label);
  const [, host, port] = ENDPOINT_HOST.exec(text) ?? [null, text, ""];
  return h("div", { class: "head", title: text, style: { left: `${x - step / 2}px`, width: `${step}px` } },
    endpoint.name && h("strong", { class: "foreign cut" }, oneLine(endpoint.name)),
    h("span", { class: "mono host" }, host ?? text), port && h("span", { class: "mono muted" }, port));
}

const signed = (seconds, digits) => `${seconds < 0 ? "−" : "+"}${Math.abs(seconds).toFixed(digits)}`;
