// Numbers and states as a person reads them. Not here: times of the day (`time`).

import { span } from "../time.js";
import { byReason, total } from "./books.js";

/** "1,204" */
export const count = (n) => n.toLocaleString("en");

/** "1,204/s"; null is what nobody knows yet. */
export function perSecond(rate) {
  if (rate === null) return "–";
  return `${rate > 0 && rate < 10 ? rate.toFixed(1) : count(Math.round(rate))}/s`;
}

/** A time by whole seconds: "6 s", "4:05". */
export const whole = (seconds) => (seconds < 60 ? `${Math.floor(seconds)} s` : span(seconds));

/** "12.5 MiB" */
export function octets(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  for (; n >= 1024 && place < units.length - 1; place += 1) n /= 1024;
  return `${place ? n.toFixed(1) : n} ${units[place]}`;
}

/** "rate limit 12, duplicate 3" */
export const reasons = (rows) => byReason(rows).map(([reason, n]) => `${reason} ${count(n)}`).join(", ");

/** How a number of losses looks, for `put`: quiet while there are none, else in a colour and with its reasons. */
export const lost = (rows, colour) => (total(rows) ? { tone: colour, tip: reasons(rows) } : {});

const TONES = { active: "good", on: "good", probing: "odd", paused: "odd", disabled: "off", off: "off" };

/** good, odd, bad or off: the colour of a state. Workers that disagree say theirs with commas between; a word that is not
 *  known is what a store says about what hinders it. */
export function tone(state) {
  const tones = new Set(state.split(",").map((word) => TONES[word] ?? "bad"));
  return tones.size === 1 ? [...tones][0] : "odd";
}
