// What is asked, as the URL, the form and the API have it. A time is ISO 8601 or "so long ago" (2h), or nothing (the server's
// default, or now).

import { date, instant, iso, moment, micros, now, stamp } from "../time.js";

const NAMES = ["q", "store", "since", "until", "live"];
const AGO = /^(\d+(\.\d+)?(s|m|h|d|w))+$/;

/** The question of that query string: {q, store, since, until, live}, each a text, "" when it is not there. */
export function fromUrl(search) {
  const params = new URLSearchParams(search);
  return Object.fromEntries(NAMES.map((name) => [name, params.get(name) ?? ""]));
}

/** Does the end of this question move with the clock? */
export const followsNow = (question) => !question.until && Number.isNaN(moment(question.since));

/** A time of a question as a person reads it; what is no time of a day as it is. */
export function shown(time) {
  const us = moment(time);
  if (Number.isNaN(us)) return time;
  return us % 1e3 ? stamp(us, 6) : us % 1e6 ? stamp(us) : stamp(us, 0);
}

/** The time of a question that a person wrote: "2h", "14:30", "2026-11-25", "2026-11-25 14:30:05.250", ISO 8601, "now". Raises
 *  Error with words. */
export function written(text) {
  const compact = text.trim().toLowerCase();
  if (compact === "" || compact === "now") return "";
  if (AGO.test(compact.replaceAll(" ", "").replaceAll("min", "m"))) return compact.replaceAll(" ", "").replaceAll("min", "m");
  if (/z$|[+-]\d\d:\d\d$/.test(compact) && !Number.isNaN(Date.parse(text.trim()))) return iso(micros(text.trim()));
  const parts = /^(?:(\d{4}-\d\d-\d\d)[t ]?)?(?:(\d\d?:\d\d)(?::(\d\d(?:\.\d{1,6})?))?)?$/.exec(compact);
  const us = parts ? instant(parts[1] ?? date(now()), parts[2] ?? "00:00", Number(parts[3] ?? 0)) : NaN;
  if (Number.isNaN(us)) throw new Error(`“${text.trim()}” is not a time. Write 2h, 14:30 or 2026-11-25 14:30`);
  return iso(us);
}

/** Raises Error when the question's times are the wrong way round. */
export function check({ since, until }) {
  if (moment(since) >= moment(until)) {
    throw new Error("“from” is not before “to”: nothing lies between them");
  }
}
