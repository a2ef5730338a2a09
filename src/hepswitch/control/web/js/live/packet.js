// A packet of the live stream in the words of its columns, and its details. Not here: the list (`list`).

import { address } from "../api.js";
import { highlighted } from "../call/highlight.js";
import { fill, h } from "../dom.js";
import { copy } from "../notices.js";
import { clock, micros, stamp } from "../time.js";

const TYPES = {
  1: "SIP", 4: "RTP", 5: "RTCP", 32: "REPORT", 34: "MOS", 35: "MOS", 38: "QOS", 53: "DNS", 54: "ISUP", 58: "RTCP", 60: "CDR",
  86: "XLOG", 87: "MI", 88: "REST", 89: "NET", 96: "CONTROL", 99: "REPORT", 100: "LOG",
};
const PROTOCOLS = { 6: "TCP", 17: "UDP", 22: "TLS", 50: "WS", 132: "SCTP" };

/** What it is: the method of a request, the status of a reply, else the type of its protocol. */
export function what(packet) {
  if (packet.status) return [String(packet.status), `s${Math.floor(packet.status / 100)}`];
  if (packet.method) return [packet.method, ""];
  return [type(packet), "s1"];
}

/** What follows the badge: the reason of a reply and the method that it answers. */
export const about = (packet) => (packet.status ? [packet.reason, packet.cseq_method && `(${packet.cseq_method})`].filter(Boolean).join(" ") : "");

export const at = (packet, digits = 3) => clock(micros(packet.at), digits);
export const users = ({ from_user, to_user }) => (from_user || to_user ? `${from_user ?? ""} → ${to_user ?? ""}` : "");
export const hosts = (packet) => `${end(packet.src_ip, packet.src_port)} → ${end(packet.dst_ip, packet.dst_port)}`;
export const agent = ({ captagent_id, node_name }) => [captagent_id, node_name].filter((part) => part !== null && part !== undefined).join(" ");
export const call = (packet) => packet.call_id ?? packet.correlation_id ?? "";

const type = ({ proto_type }) => TYPES[proto_type] ?? `type ${proto_type ?? "?"}`;
const end = (host, port) => `${host?.includes(":") ? `[${host}]` : (host ?? "?")}:${port ?? "?"}`;

/** Fills `panel` with all of one packet. `asked`: payloads are asked for now; `ask()` does so. `close` is the button's. */
export function details(panel, packet, asked, ask, close) {
  const facts = [
    ["time", stamp(micros(packet.at), 6)],
    ["from – to", `${hosts(packet)} ${PROTOCOLS[packet.proto_id] ?? ""}`],
    ["carries", `${type(packet)}, ${packet.size} bytes`],
    ["agent", agent(packet)],
    ["users", users(packet)],
    ["Call-ID", packet.call_id],
    ["correlation", packet.correlation_id],
    ["outcome", packet.outcome],
  ];
  const id = call(packet);
  fill(panel,
    h("header", null, badge(packet), h("span", { class: "cut foreign" }, about(packet)), h("span", { class: "space" }),
      id && h("a", { class: "button", href: address("/call", { call_id: id }) }, "Open the call"),
      id && h("button", { type: "button", on: { click: () => copy(id, "Call-ID") } }, "Copy the Call-ID"),
      h("button", { type: "button", class: "quiet", "aria-label": "Close the packet", on: { click: close } }, "×")),
    h("dl", null, facts.filter(([, words]) => words).map(([name, words]) => [h("dt", null, name), h("dd", { class: "foreign" }, words)])),
    payload(packet, asked, ask));
}

export function badge(packet) {
  const [words, kind] = what(packet);
  return h("span", { class: `badge ${kind}` }, words);
}

function payload(packet, asked, ask) {
  const cut = packet.cut && h("p", { class: "muted" }, "The rest is longer than the live stream carries.");
  if (packet.payload !== undefined) {
    const kind = packet.status ? "reply" : packet.method ? "request" : "other";
    return [h("div", { class: "payload mono foreign", tabindex: "0" }, highlighted(packet.payload, kind)), cut];
  }
  if (packet.payload_base64 !== undefined) {
    return [h("p", { class: "muted" }, "This is no text. As base64:"), h("pre", { class: "payload", tabindex: "0" }, packet.payload_base64), cut];
  }
  if (asked) return h("p", { class: "muted" }, "It came before payloads were asked for.");
  return h("p", { class: "muted" }, "Payloads are not asked for. ", h("button", { type: "button", class: "small", on: { click: ask } }, "Show those of packets to come"));
}
