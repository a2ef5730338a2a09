// Times as the API gives them (ISO 8601, UTC, microseconds) and as a person reads them, in local time or in UTC.
// A time is a number of microseconds since 1970, exact: 2^53 µs are 285 years.

const KEY = "hepswitch.zone";
const ISO = /^(\d{4}-\d\d-\d\d)(?:(T\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?)?$/i;
const changed = new EventTarget();
let utc = localStorage.getItem(KEY) === "utc";

/** µs since 1970 of an ISO 8601 time. */
export function micros(iso) {
  const us = moment(iso);
  if (Number.isNaN(us)) throw new Error(`${iso} is not a time`);
  return us;
}

/** The same of what may be no such time: then NaN. As for the API, it is UTC unless it says otherwise. */
export function moment(text) {
  const [, day, time = "T00:00", fraction = "", zone = "Z"] = ISO.exec(text.trim()) ?? [];
  return Date.parse(day + time + zone) * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

/** The ISO 8601 time of that many µs, UTC. */
export function iso(us) {
  const second = Math.floor(us / 1e6);
  return `${new Date(second * 1000).toISOString().slice(0, 19)}.${pad(us - second * 1e6, 6)}Z`;
}

export const now = () => Date.now() * 1000;

/** "2026-11-25" */
export function date(us) {
  const day = new Date(us / 1000);
  return utc
    ? `${day.getUTCFullYear()}-${pad(day.getUTCMonth() + 1)}-${pad(day.getUTCDate())}`
    : `${day.getFullYear()}-${pad(day.getMonth() + 1)}-${pad(day.getDate())}`;
}

/** "22:30:43.123", with `digits` (0 to 6) of the second's fraction. */
export function clock(us, digits = 3) {
  const second = Math.floor(us / 1e6);
  const day = new Date(second * 1000);
  const parts = utc
    ? [day.getUTCHours(), day.getUTCMinutes(), day.getUTCSeconds()]
    : [day.getHours(), day.getMinutes(), day.getSeconds()];
  const fraction = digits ? `.${pad(us - second * 1e6, 6).slice(0, digits)}` : "";
  return parts.map((part) => pad(part)).join(":") + fraction;
}

/** "2026-11-25 22:30:43.123" */
export const stamp = (us, digits = 3) => `${date(us)} ${clock(us, digits)}`;

/** µs that the clock is ahead of UTC at that time. */
export const offset = (us) => (utc ? 0 : -new Date(us / 1000).getTimezoneOffset() * 60e6);

/** The time of "2026-11-25", "22:30" and seconds; NaN when there is no such day or time. */
export function instant(day, time, seconds) {
  const [hour, minute] = time.split(":").map(Number);
  if (hour > 23 || minute > 59 || seconds >= 60) return NaN;
  return Date.parse(`${day}T${pad(hour)}:${pad(minute)}:00${utc ? "Z" : ""}`) * 1000 + Math.round(seconds * 1e6);
}

/** How long `seconds` are: "0.120 s", "16.0 s", "4:05", "1:02:03", "3 d 4 h". */
export function span(seconds) {
  if (seconds < 10) return `${seconds.toFixed(3)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
}

/** "12 s ago" */
export function ago(us, from = now()) {
  const seconds = Math.max(0, (from - us) / 1e6);
  if (seconds < 2) return "now";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return `${Math.floor(seconds)} s ago`;
}

/** "UTC", or the name of the local zone. */
export const zone = () => (utc ? "UTC" : "local");

/** From local time to UTC and back; who listens draws its times again. */
export function toggleZone() {
  utc = !utc;
  localStorage.setItem(KEY, zone().toLowerCase());
  changed.dispatchEvent(new Event("zone"));
}
export const onZone = (redraw) => changed.addEventListener("zone", redraw);

function pad(number, width = 2) {
  return String(number).padStart(width, "0");
}
