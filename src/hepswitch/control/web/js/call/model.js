// A call's events as the rows of a ladder: what is hidden is left out, what repeats is folded into one row, long silences
// get a row of their own. Pure: no element is made here (ladder.js, arrows.js).

import { micros } from "../time.js";

const REPORTS = new Set(["rtcp", "report"]);
const RUN = 4; // reports in one direction with no signalling between them: so many are folded into one row
const SILENCE = 2e6; // µs without a message that are worth a mark; media reports come every few seconds anyway
export const ROW = 25; // px
export const GAP = 18; // px

/** Is it about media rather than a message of SIP? */
export const isReport = (event) => REPORTS.has(event.kind);

/** The rows, from top to bottom: {event, repeats, at, before, top, height}, or a silence {silence, top, height}.
 *  `repeats` are the events folded into the row; `before` is the time of the row before, in µs. */
export function rowsOf(events, view) {
  const shown = events.filter((event) => (view.rtcp || !isReport(event)) && (view.logs || event.kind !== "log"));
  const leads = view.repeats ? shown.map((event) => ({ event, repeats: [] })) : folded(shown);
  const rows = [];
  let [top, before, last] = [0, null, null];
  for (const [place, lead] of leads.entries()) {
    const at = micros(lead.event.at);
    if (last && at - last.until >= SILENCE && !(isReport(last.event) && isReport(lead.event))) {
      rows.push({ silence: (at - last.until) / 1e6, top, height: GAP });
      top += GAP;
    }
    const next = place + 1 < leads.length ? micros(leads[place + 1].event.at) : Infinity;
    last = { event: lead.event, repeats: lead.repeats, at, before, until: lastOf(lead, at, next), top, height: ROW };
    rows.push(last);
    top += ROW;
    before = at;
  }
  return rows;
}

/** Which row shows the event with that id; -1: none. */
export const rowWith = (rows, id) =>
  rows.findIndex((row) => row.event && (row.event.id === id || row.repeats.some((event) => event.id === id)));

/** The quality that a row of reports tells: the worst of them, null where none says anything. */
export function worst(row) {
  const said = [row.event, ...row.repeats].map((event) => event.quality).filter(Boolean);
  if (!said.length) return null;
  const most = (name, choose) =>
    said.map((quality) => quality[name] ?? null).reduce((one, other) => (one === null || other === null ? one ?? other : choose(one, other)));
  return { loss: most("loss", Math.max), jitter: most("jitter", Math.max), mos: most("mos", Math.min) };
}

/** The message that `event` is best compared with: the nearest one that says the same, such as the INVITE before the
 *  proxy, else the one before it with SDP when it has SDP (the offer), else its neighbour. Null: there is no other. */
export function counterpart(events, event) {
  const place = events.indexOf(event);
  const before = events.slice(0, place).reverse().filter((other) => !other.retransmission);
  const after = events.slice(place + 1).filter((other) => !other.retransmission);
  const same = (other) => other.kind === event.kind && other.label === event.label;
  const offer = (other) => event.sdp && other.sdp;
  return before.find(same) ?? before.find(offer) ?? after.find(same) ?? before[0] ?? after[0] ?? null;
}

/** "A", "B", … "Z", then numbers. */
export const legName = (leg) => (leg < 26 ? String.fromCharCode(65 + leg) : String(leg));

/** The colours of a call: {leg(number), event(event)}. A leg's first dialog has the leg's own, each fork of it another. */
export function coloursOf({ legs, events }) {
  const dialogs = new Map();
  const begun = new Set();
  let next = legs.length;
  for (const { dialog, leg } of events) {
    if (dialog === null || dialog === undefined || dialogs.has(dialog)) continue;
    dialogs.set(dialog, begun.has(leg) ? next++ : leg ?? next++);
    begun.add(leg);
  }
  return { leg: colour, event: ({ dialog, leg }) => colour(dialogs.get(dialog) ?? leg) };
}

const colour = (number) => (number === null || number === undefined ? "var(--muted)" : `var(--series-${(number % 8) + 1})`);

function folded(events) {
  const leads = [];
  const first = new Map();
  let runs = new Map();
  for (const event of events) {
    if (!isReport(event)) runs = new Map();
    const key = JSON.stringify([event.leg, event.source, event.target, event.kind, event.label, event.cseq, event.dialog]);
    const known = event.retransmission ? first.get(key) : undefined;
    if (known) {
      known.repeats.push(event);
      continue;
    }
    const lead = { event, repeats: [] };
    first.set(key, lead);
    leads.push(lead);
    if (isReport(event)) {
      const way = `${event.source} ${event.target} ${event.kind}`;
      if (!runs.has(way)) runs.set(way, []);
      runs.get(way).push(lead);
      lead.run = runs.get(way);
    }
  }
  return leads.filter((lead) => {
    if (!lead.run || lead.run.length < RUN) return true;
    if (lead !== lead.run[0]) return false;
    lead.repeats = lead.run.slice(1).map((other) => other.event);
    return true;
  });
}

/** When the last of a row's events was that came before the next row. */
const lastOf = (lead, at, next) =>
  lead.repeats.map((event) => micros(event.at)).reduce((last, time) => (time > last && time <= next ? time : last), at);
