// The books as a person reads them: rates out of two looks, and the sums that must hold, each with its parts in words.
// Not here: asking for them (`looks`), how they are shown (`ledger`, `flow`).

/** The sum of numbers by reason. */
export const total = (reasons) => Object.values(reasons ?? {}).reduce((sum, n) => sum + n, 0);

/** [[reason, n], …], the largest first, without those that are 0. */
export const byReason = (reasons) =>
  Object.entries(reasons ?? {})
    .filter(([, n]) => n)
    .sort(([, a], [, b]) => b - a);

const SHORTEST = 0.9; // seconds between two looks that a rate is made of
const KEPT = 8; // looks: after a change they may follow each other quickly

/** The books as they were seen, of which rates are made. */
export class Past {
  #books = [];

  /** Gives `per(pick)`: how fast the number that `pick` finds in the books grows, by the second and by the clock of the
   *  switch. null: nobody knows yet, since this is the first look, the switch has started again, or the row is new. */
  take(book) {
    if (this.#books.at(-1)?.uptime > book.uptime) this.#books = [];
    const before = this.#books.findLast((one) => book.uptime - one.uptime >= SHORTEST);
    this.#books = [...this.#books, book].slice(-KEPT);
    return rates(before, book);
  }
}

function rates(before, after) {
  const seconds = before ? after.uptime - before.uptime : 0;
  return (pick) => {
    if (!seconds) return null;
    const was = pick(before);
    const is = pick(after);
    // A worker that died takes back what its successor finds on disk: that is no negative rate.
    return was === undefined || is === undefined ? null : Math.max(is - was, 0) / seconds;
  };
}

/** What all listeners read together: {packets, kernel, parts: [{word, n, tip, reasons, tone}]}. */
function received(book) {
  const rows = Object.values(book.received);
  const add = (key) => rows.reduce((sum, row) => sum + row[key], 0);
  const join = (key) => rows.reduce((all, row) => joined(all, row[key]), {});
  const refused = join("refused");
  return {
    packets: add("packets"),
    kernel: add("kernel_drops"),
    parts: [
      { word: "malformed", n: add("malformed"), reasons: join("malformed_reasons"), tone: "bad", tip: TIPS.malformed },
      { word: "refused", n: total(refused), reasons: refused, tone: "odd", tip: TIPS.refused_in },
      { word: "routed", n: book.routed.packets, tip: TIPS.routed },
    ],
  };
}

function joined(left, right) {
  const all = { ...left };
  for (const [reason, n] of Object.entries(right ?? {})) all[reason] = (all[reason] ?? 0) + n;
  return all;
}

function account(kind, name, row, set = "") {
  const parts = [
    { word: "delivered", n: row.delivered, tip: TIPS[`delivered_${kind}`] ?? TIPS.delivered_destination },
    { word: "queued", n: row.queued, tone: "note", tip: TIPS.queued },
    { word: "spooled", n: row.spooled, tone: "note", tip: TIPS.spooled },
    { word: "discarded", n: total(row.discarded), reasons: row.discarded, tone: "bad", tip: TIPS.discarded },
  ];
  return {
    kind,
    name,
    set,
    whole: { word: "accepted", n: row.accepted, tip: TIPS.accepted },
    parts,
    beside: [{ word: "refused", n: total(row.refused), reasons: row.refused, tone: "odd", tip: TIPS.refused_out }],
    holds: holds(row.accepted, parts),
  };
}

const holds = (whole, parts) => whole === parts.reduce((sum, part) => sum + part.n, 0);

/**
 * Every sum that must hold: [{kind, name, set, whole, parts, beside, holds}]; `set` is that of a node. `beside` are numbers that belong to the row and not
 * to its sum: what never came in, or was never taken over.
 */
export function sums(book) {
  const { packets, kernel, parts } = received(book);
  const whole = {
    kind: "listeners",
    name: "",
    set: "",
    whole: { word: "received", n: packets, tip: TIPS.packets },
    parts,
    beside: [{ word: "lost in the kernel", n: kernel, tone: "bad", tip: TIPS.kernel }],
    holds: holds(packets, parts),
  };
  const accounts = [];
  for (const [name, row] of Object.entries(book.destinations)) {
    const kind = isTarget(name) ? "target" : "destination";
    accounts.push(account(kind, name, row));
    for (const [url, node] of Object.entries(row.nodes ?? {})) accounts.push(account("node", url, node, name));
  }
  for (const [name, row] of Object.entries(book.stores)) accounts.push(account("store", name, row));
  return [whole, ...accounts];
}

/** Whether a row of `destinations` belongs to traces alone: those are named by their URI, sets by a plain name. */
export const isTarget = (name) => name.includes(":");

/** What became of the packets that the route saw: no sum, since a packet may go to many places. */
export function routed(book) {
  const row = book.routed;
  return [
    { word: "dropped", n: total(row.dropped), reasons: row.dropped, tip: TIPS.dropped },
    { word: "unrouted", n: row.unrouted, tone: "odd", tip: TIPS.unrouted },
    { word: "errors", n: row.errors, tone: "bad", tip: TIPS.errors },
    { word: "overwritten", n: row.overwritten, tone: "odd", tip: TIPS.overwritten },
  ];
}

/** What the words mean, as in the reference of the books. */
export const TIPS = {
  packets: "Datagrams or frames of HEP that were read; of SIP from the wire the messages, put together.",
  malformed: "No HEP, or a message that was not captured whole.",
  refused_in: "Read, but not let into the route.",
  kernel: "The kernel threw them away because the receive buffer was full. They were never read, so they are in no sum.",
  routed: "Packets that the route saw. Every one of them is sent, stored, dropped by name, or unrouted.",
  dropped: "The route dropped them by name: what it was told to do.",
  unrouted: "The route neither sent them anywhere, nor stored, nor dropped them by name.",
  errors: "The route raised an exception; the packets went on as on_error says.",
  overwritten: "A mask could not read the payload and overwrote it as a whole.",
  accepted: "Packets that were taken over. Each of them is delivered, waiting, or discarded with a reason.",
  delivered_destination: "UDP: given to the kernel. TCP and TLS: acknowledged by the other side.",
  delivered_store: "Lake: safely in the journal, or beyond. Database: committed.",
  delivered_target: "Written to what traces send to.",
  queued: "Waiting in memory, or on their way without an acknowledgement.",
  spooled: "Waiting on disk, until the other side takes them.",
  discarded: "Taken over and then lost.",
  refused_out: "Never taken over; the route was told so.",
};
