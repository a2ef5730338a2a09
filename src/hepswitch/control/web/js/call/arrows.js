// One row of the ladder as SVG: life lines, and an arrow, a note or a silence. Not here: which rows there are (model.js),
// where they stand (ladder.js).

import { svg } from "../dom.js";
import { isReport, worst } from "./model.js";
import { oneLine } from "./text.js";

const BASE = 18.5; // px from the top of a row to its arrow
const HEAD = 7; // px, length of the arrow's head
const LOOP = 26; // px, width of the arrow of a host that talks to itself
const LABEL = 250; // px, a label that may be wider than its arrow
const NOTE = 420; // px, the widest note
const FONTS = { plain: "12px system-ui, sans-serif", bold: "600 12px system-ui, sans-serif" };
const pen = document.createElement("canvas").getContext("2d");

/** Where media quality turns odd and bad: MOS of E-model ratings 70 and 60 (ITU-T G.107, annex B), the usual limits for
 *  loss in percent and jitter in ms. */
const LIMITS = { loss: [1, 5], jitter: [30, 100], mos: [3.6, 3.1] };

/** The drawing of an event's row. `at`: the x of each column; `width`: of the drawing; `ink`: the colour of its arrow. */
export function drawing(row, at, width, ink) {
  const { event } = row;
  const from = at[event.source] ?? at[0];
  const to = at[event.target] ?? from;
  const inside = event.kind === "log" ? note(event, from, width) : from === to ? loop(row, from, width) : arrow(row, from, to, width);
  const kind = isReport(event) ? `media ${judged(worst(row))}` : event.kind;
  return svg("svg", { class: `drawn ${kind}`, width, height: row.height, style: { "--ink": ink }, "aria-hidden": "true" },
    lives(at, row.height), inside);
}

/** A row in which nothing happens: the life lines are dotted. */
export const silent = (row, at, width) =>
  svg("svg", { class: "drawn silence", width, height: row.height, "aria-hidden": "true" }, lives(at, row.height));

/** What the row says, in words. */
export function label(row) {
  const { event } = row;
  const quality = isReport(event) ? worst(row) : null;
  if (quality) return ["RTCP", ...told(quality)].join(" · ");
  const method = ` (${event.method})`;
  return oneLine(event.kind === "reply" && event.label.endsWith(method) ? event.label.slice(0, -method.length) : event.label);
}

function told({ loss, jitter, mos }) {
  const has = (value) => value !== null && value !== undefined;
  return [
    has(loss) && `loss ${loss.toFixed(1)} %`,
    has(jitter) && `jitter ${jitter < 10 ? jitter.toFixed(1) : Math.round(jitter)} ms`,
    has(mos) && `MOS ${mos.toFixed(2)}`,
  ].filter(Boolean);
}

function judged(quality) {
  const beyond = (name, place) => {
    const value = quality?.[name] ?? null;
    return value !== null && (name === "mos" ? value < LIMITS.mos[place] : value >= LIMITS[name][place]);
  };
  return ["", "odd", "bad"].findLast((_, place) => !place || Object.keys(LIMITS).some((name) => beyond(name, place - 1)));
}

const lives = (at, height) => svg("path", { class: "life", d: at.map((x) => `M${x} 0v${height}`).join("") });

function arrow(row, from, to, width) {
  const middle = (from + to) / 2;
  const around = Math.min(LABEL, 2 * Math.min(middle, width - middle) - 12); // no other arrow stands in this row
  const way = Math.sign(to - from);
  const tip = to - way;
  return [
    svg("line", { class: "shaft", x1: from, x2: tip - way * (HEAD - 1), y1: BASE, y2: BASE }),
    svg("path", { class: "tip", d: `M${tip} ${BASE}l${-way * HEAD} -4v8z` }),
    words(row, middle, Math.max(Math.abs(to - from) - 12, around), "middle"),
  ];
}

function loop(row, x, width) {
  const way = x + LOOP + 60 > width ? -1 : 1;
  const [out, room] = [x + way * LOOP, way > 0 ? width - x - LOOP - 10 : x - LOOP - 10];
  return [
    svg("path", { class: "shaft", d: `M${x} 6H${out}V${BASE}H${x + way * HEAD}` }),
    svg("path", { class: "tip", d: `M${x + way} ${BASE}l${way * HEAD} -4v8z` }),
    words(row, out + way * 6, room, way > 0 ? "start" : "end", 15),
  ];
}

function note(event, x, width) {
  const text = oneLine(event.label);
  const right = width - x - 14 >= Math.min(160, measured(text, FONTS.plain));
  const room = Math.min(NOTE, right ? width - x - 14 : x - 14) - 16;
  const shown = fitted(text, room, FONTS.plain);
  const wide = measured(shown, FONTS.plain) + 14;
  const left = right ? x + 6 : x - 6 - wide;
  return [
    svg("circle", { class: "pin", cx: x, cy: 12.5, r: 3 }),
    svg("rect", { class: "paper", x: left, y: 2, width: wide, height: 21, rx: 3 }),
    svg("text", { class: "words", x: left + 7, y: 16.5 }, shown),
  ];
}

/** The label with its marks: SDP, folded repeats, agents that saw it. Only the label gets shorter when there is no room. */
function words(row, x, room, anchor, y = 12) {
  const { event, repeats } = row;
  const marks = [
    event.sdp && ["sdp", "SDP"],
    repeats.length && ["again", `×${repeats.length + 1}`],
    event.retransmission && ["again", "↻"],
    event.copies > 1 && ["copies", `${event.copies} agents`],
  ].filter(Boolean);
  const font = event.kind === "request" ? FONTS.bold : FONTS.plain;
  const taken = marks.reduce((sum, [, text]) => sum + measured(text, FONTS.plain) + 6, 0);
  const status = event.status ? ` s${Math.floor(event.status / 100)}` : "";
  return svg("text", { class: `words${status}`, x, y, "text-anchor": anchor },
    svg("tspan", { class: "name" }, fitted(label(row), room - taken, font)),
    marks.map(([kind, text]) => svg("tspan", { class: `mark ${kind}`, dx: 5 }, text)));
}

function measured(text, font) {
  pen.font = font;
  return pen.measureText(text).width;
}

/** As much of the text as `room` px hold. */
function fitted(text, room, font) {
  const some = text.slice(0, 400);
  if (some.length === text.length && measured(text, font) <= room) return text;
  let [low, high] = [0, some.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (measured(`${some.slice(0, middle)}…`, font) <= room) low = middle;
    else high = middle - 1;
  }
  return `${some.slice(0, low).trimEnd()}…`;
}
