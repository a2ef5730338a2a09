// A captured message as elements: start line, header names, what ties messages together (Call-ID, tags, branch), and SDP
// with words beside it. The text nodes say what was captured, nothing more: the words beside SDP are drawn by CSS.

import { h } from "../dom.js";
import { explained } from "./sdp.js";
import { visible } from "./text.js";

const LONG = 400; // characters of a line that are shown at once
const LINES = 1000; // lines that are shown at once
const TIES = /(;\s*(?:tag|branch)\s*=\s*)([^;,>\s]+)/gi;
const CALL_IDS = new Set(["call-id", "i"]);

/** The lines of a message, as nodes. `kind` is that of its event. */
export function highlighted(text, kind) {
  const lines = text.split(/\r\n|\n|\r/);
  const sip = kind === "request" || kind === "reply";
  const blank = sip ? lines.indexOf("") : -1;
  const body = blank < 0 ? [] : lines.slice(blank + 1);
  const notes = body.some((line) => line.startsWith("v=0")) ? explained(body) : [];
  const made = (line, place) => {
    if (!sip) return shown(line, "line");
    if (place === 0) return shown(line, "line start");
    if (blank < 0 || place < blank) return header(line);
    const note = notes[place - blank - 1];
    return shown(line, "line", note && visible(note));
  };
  const first = lines.slice(0, LINES).map(made);
  if (lines.length <= LINES) return first;
  return [...first, more(`… ${lines.length - LINES} more lines`, () => lines.slice(LINES).map((line, i) => made(line, LINES + i)))];
}

/** A line of the head: its name, and what ties it to other messages. */
function header(line) {
  const [, name, value] = /^([^\s:]+\s*:\s*)(.*)$/s.exec(line) ?? [null, "", line];
  const tie = CALL_IDS.has(name.split(":")[0].trim().toLowerCase());
  return h("div", { class: "line" }, name && h("span", { class: "field" }, visible(name)),
    tie ? h("mark", { class: "tie" }, visible(value)) : cut(value, ties));
}

function ties(value) {
  const parts = [];
  let end = 0;
  for (const match of value.matchAll(TIES)) {
    const from = match.index + match[1].length;
    parts.push(visible(value.slice(end, from)), h("mark", { class: "tie" }, visible(match[2])));
    end = from + match[2].length;
  }
  return [...parts, visible(value.slice(end))];
}

const shown = (line, kind, note) => h("div", { class: kind, dataset: note ? { note } : {} }, cut(line, visible));

/** A text that may be very long: its beginning, and the rest when it is asked for. */
function cut(text, nodes) {
  if (text.length <= LONG) return nodes(text);
  return [nodes(text.slice(0, LONG)), more(`… ${text.length - LONG} more characters`, () => nodes(text.slice(LONG)))];
}

function more(words, nodes) {
  const button = h("button", { type: "button", class: "more", on: { click: () => button.replaceWith(...[nodes()].flat()) } }, words);
  return button;
}
