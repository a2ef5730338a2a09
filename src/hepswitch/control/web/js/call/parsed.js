// What the switch itself reads in a message: a table of its headers, its media, and JSON in lines.

import { h } from "../dom.js";
import { visible } from "./text.js";

const MOST = 500; // rows of a table

/** `told` is the answer of /message, `text` the payload. */
export function parsed(told, text) {
  if (!told.sip) return h("div", { class: "pane" }, h("pre", { class: "raw foreign" }, visible(laidOut(text))));
  const { start_line: start, headers } = told.sip;
  return h("div", { class: "pane" },
    h("p", { class: "mono start foreign" }, visible(start)),
    told.sdp?.media.length ? media(told.sdp.media) : null,
    h("table", { class: "headers" },
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Header"), h("th", { scope: "col" }, "Value"))),
      h("tbody", null, headers.slice(0, MOST).map(([name, value]) =>
        h("tr", null, h("th", { scope: "row", class: "foreign" }, visible(name)), h("td", { class: "mono foreign" }, visible(value)))))),
    headers.length > MOST && h("p", { class: "muted" }, `${headers.length - MOST} more headers are in the raw message.`));
}

function media(streams) {
  const cells = ({ kind, port, proto, address, codecs, direction }) =>
    [`${kind} ${proto}`, address ? `${address} ${port}` : port, codecs.join(", "), direction];
  return h("table", { class: "media" },
    h("thead", null, h("tr", null, ["Media", "Address, port", "Codecs", "Direction"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", null, streams.map((stream) =>
      h("tr", null, cells(stream).map((text) => h("td", { class: "foreign" }, visible(String(text ?? "–"))))))));
}

/** JSON with a line for each member; other text as it is. */
function laidOut(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return text;
  }
}
