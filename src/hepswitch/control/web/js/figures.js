// Numbers as a person reads them. Not here: times of the day (`time`).

import { span } from "./time.js";

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
