// The capture agents: who sends, how much, and whether its clock is right. Not here: what they send.

import { h } from "../dom.js";
import { count, octets, perSecond } from "../figures.js";
import { ago, micros, now } from "../time.js";
import { put, table } from "./table.js";

const SILENT = 60; // seconds without a packet after which an agent is called silent
const SKEW = 1; // seconds that a clock may be wrong before it is pointed at; messages of one call get out of order

const silent = (row) => (now() - micros(row.last_seen)) / 1e6 > SILENT;

const COLUMNS = [
  { name: "agent", tip: "The capture id that it puts into its packets.", number: true, draw: (cell, row) => put(cell, String(row.captagent_id)) },
  { name: "node", tip: "The node name that it puts into its packets.", draw: (cell, row) => put(cell, row.node_name || "–") },
  { name: "from", tip: "The address that it sends from.", mono: true, draw: (cell, row) => put(cell, row.src_ip) },
  { name: "listener", mono: true, draw: (cell, row) => put(cell, row.listener) },
  { name: "HEP", tip: "Versions of the protocol that it speaks.", draw: (cell, row) => put(cell, row.versions.join(", ")) },
  { name: "types", tip: "What its packets carry, and how many of them.", wide: true, draw: (cell, row) => put(cell, types(row)) },
  { name: "packets", number: true, draw: (cell, row) => put(cell, count(row.packets), { tip: octets(row.bytes) }) },
  { name: "rate", tip: "Packets a second, over the last seconds.", number: true, draw: (cell, row) => put(cell, perSecond(row.rate)) },
  { name: "clock", tip: "How far its capture time is from the clock here. Calls that several agents see are out of order when it is wrong.", number: true, draw: clock },
  { name: "last seen", draw: (cell, row) => put(cell, (silent(row) ? "silent, " : "") + ago(micros(row.last_seen)), { tone: silent(row) ? "odd" : "" }) },
];

const types = (row) => Object.entries(row.types).sort(([, a], [, b]) => b - a).map(([type, n]) => `${type} ${count(n)}`).join(", ");

function clock(cell, { skew }) {
  if (skew === null) return put(cell, "–", { tip: "Its packets are of another day, or carry no time: it replays what was captured some time." });
  const wrong = Math.abs(skew) > SKEW;
  const tip = wrong ? `Its clock is ${skew > 0 ? "ahead" : "behind"}, or its packets are old: let it keep time with NTP.` : "";
  return put(cell, `${skew < 0 ? "−" : "+"}${Math.abs(skew).toFixed(Math.abs(skew) < 10 ? 3 : 0)} s`, { tone: wrong ? "odd" : "", tip });
}

/** Draws the panel. Gives what shows a look in it. */
export function agents(panel) {
  const said = h("span", { class: "muted" });
  const key = (row) => JSON.stringify([row.captagent_id, row.node_name, row.src_ip, row.listener]);
  const rows = table("Agents", COLUMNS, key, "Nobody has sent anything yet.");
  panel.append(h("header", null, h("h2", null, "Agents"), said), rows.element);
  return ({ agents: { agents: found, forgotten } }) => {
    const quiet = found.filter(silent).length;
    const words = [`${count(found.length)} known`, quiet && `${count(quiet)} silent`, forgotten && `${count(forgotten)} more have been forgotten`];
    put(said, words.filter(Boolean).join(" · "));
    rows.show([...found].sort((a, b) => a.captagent_id - b.captagent_id || key(a).localeCompare(key(b))));
  };
}
