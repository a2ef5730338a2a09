// States and losses in words and colours. Not here: where they are shown (the panels).

import { count } from "../figures.js";
import { byReason, total } from "./books.js";

const TONES = { active: "good", on: "good", probing: "odd", paused: "odd", disabled: "off", off: "off" };

/** good, odd, bad or off: the colour of a state. Workers that disagree say theirs with commas between; a word that is not
 *  known is what a store says about what hinders it. */
export function tone(state) {
  const tones = new Set(state.split(",").map((word) => TONES[word] ?? "bad"));
  return tones.size === 1 ? [...tones][0] : "odd";
}

/** "rate limit 12, duplicate 3" */
export const reasons = (rows) => byReason(rows).map(([reason, n]) => `${reason} ${count(n)}`).join(", ");

/** How a number of losses looks, for `put`: quiet while there are none, else in a colour and with its reasons. */
export const lost = (rows, colour) => (total(rows) ? { tone: colour, tip: reasons(rows) } : {});
