// The table of calls: rows by time, newest first, the one that the keyboard is at, those that are chosen for an export. What a
// call's row shows, and what in it is unusual. Not here: asking for calls.

import { address } from "../api.js";
import { oneLine } from "../call/text.js";
import { fill, h, svg } from "../dom.js";
import { copy } from "../notices.js";
import { clock, date, micros, onZone, span, stamp } from "../time.js";

const SLOW_SETUP = 5; // s: who calls hears nothing for so long
const EXPECTED = new Set([401, 407, 487]); // a challenge and a caller who gave up are no failures

export class Results {
  #body;
  #changed;
  #store = "";
  #rows = new Map(); // call_id → {call, row}, in the order of the table
  #chosen = new Set();

  /** `changed(count, chosen)` when there are other rows, or others are chosen. */
  constructor(body, changed) {
    this.#body = body;
    this.#changed = changed;
    body.addEventListener("click", (event) => this.#click(event));
    body.addEventListener("change", (event) => this.#choose(event.target.closest("tr"), event.target.checked));
    body.addEventListener("focusin", (event) => this.#point(event.target.closest("tr")));
    onZone(() => this.#redraw());
  }

  /** These calls and no others; what was chosen stays so where it is still there. */
  show(calls, store) {
    this.#store = store;
    const at = this.#current?.dataset.callId;
    const focused = this.#body.contains(document.activeElement);
    const before = this.#rows;
    this.#rows = new Map(calls.map((call) => [call.call_id, this.#entry(call, before)]));
    this.#chosen = new Set([...this.#chosen].filter((id) => this.#rows.has(id)));
    fill(this.#body, [...this.#rows.values()].map((entry) => entry.row));
    this.#point(this.#rows.get(at)?.row ?? this.#body.firstElementChild);
    if (focused) this.#current?.focus();
    this.#tell();
  }

  /** Older calls, below those that are there. */
  append(calls) {
    const fresh = calls.filter((call) => !this.#rows.has(call.call_id));
    for (const call of fresh) this.#rows.set(call.call_id, this.#entry(call, this.#rows));
    this.#body.append(...fresh.map((call) => this.#rows.get(call.call_id).row));
    this.#tell();
  }

  /** The newest calls as they are now, over those that are there: new ones on top, others as they have become. Gives false,
   *  and changes nothing, where calls may be missing between both, or there would be more than `most`. */
  renew(calls, most) {
    const newest = new Set(calls.map((call) => call.call_id));
    const known = calls.filter((call) => this.#rows.has(call.call_id)).length;
    if (most < Infinity && (!known || this.#rows.size + calls.length - known > most)) return false;
    const oldest = calls.length ? micros(calls.at(-1).start) : Infinity;
    const older = [...this.#rows.values()].map((entry) => entry.call);
    this.show([...calls, ...older.filter((call) => !newest.has(call.call_id) && micros(call.start) <= oldest)], this.#store);
    return true;
  }

  /** The Call-IDs for an export: those that are chosen, else the one that the keyboard is at. */
  get chosen() {
    const current = this.#current?.dataset.callId;
    return this.#chosen.size ? [...this.#chosen] : current ? [current] : [];
  }

  /** Moves by so many rows. */
  move(by) {
    const rows = this.#body.rows;
    if (!rows.length) return;
    const inside = this.#body.contains(document.activeElement);
    const place = this.#current ? this.#current.sectionRowIndex + (inside ? by : 0) : 0;
    const row = rows[Math.min(rows.length - 1, Math.max(0, place))];
    this.#point(row);
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  open() {
    if (this.#current) location.assign(this.#link(this.#current.dataset.callId));
  }

  toggle() {
    const row = this.#current;
    if (row) this.#choose(row, !this.#chosen.has(row.dataset.callId));
  }

  copyCallId() {
    if (this.#current) copy(this.#current.dataset.callId, "Call-ID");
  }

  get #current() {
    return this.#body.querySelector('tr[aria-selected="true"]');
  }

  #point(row) {
    if (!row || row === this.#current) return;
    const before = this.#current;
    before?.setAttribute("aria-selected", "false");
    before?.setAttribute("tabindex", "-1");
    row.setAttribute("aria-selected", "true");
    row.setAttribute("tabindex", "0");
  }

  #choose(row, yes) {
    if (yes) this.#chosen.add(row.dataset.callId);
    else this.#chosen.delete(row.dataset.callId);
    row.querySelector("input").checked = yes;
    this.#tell();
  }

  #click(event) {
    const row = event.target.closest("tr");
    if (event.target.closest("button")) copy(row.dataset.callId, "Call-ID");
    if (event.target.closest("a, button, td.c-pick") || String(getSelection())) return;
    this.#point(row);
    this.open();
  }

  #tell() {
    this.#changed(this.#rows.size, this.#chosen.size);
  }

  #redraw() {
    this.show([...this.#rows.values()].map((entry) => ({ ...entry.call })), this.#store);
  }

  /** The row that is there already, when nothing about the call is different. */
  #entry(call, before) {
    const old = before.get(call.call_id);
    const text = JSON.stringify([call, this.#store]) + stamp(0);
    return old?.text === text ? old : { call, text, row: this.#row(call) };
  }

  #link(callId) {
    return address("/call", { call_id: callId, store: this.#store });
  }

  #row(call) {
    const start = micros(call.start);
    const slow = call.setup !== null && call.setup >= SLOW_SETUP;
    const cell = (name, more, ...children) => h("td", { role: "gridcell", ...more, class: `c-${name} ${more?.class ?? ""}` }, ...children);
    return h("tr", { role: "row", tabindex: -1, "aria-selected": "false", dataset: { callId: call.call_id } },
      cell("pick", null, h("input", { type: "checkbox", tabindex: -1, "aria-label": "Choose this call", checked: this.#chosen.has(call.call_id) })),
      cell("start", null, h("span", { class: "day" }, `${date(start)} `), clock(start)),
      cell("method", null, h("span", { class: "badge foreign" }, oneLine(call.method ?? "?"))),
      cell("from", { class: "cut" }, ...party(call.from_user, call.from_domain)),
      cell("to", { class: "cut" }, ...party(call.to_user, call.to_domain)),
      cell("setup", { class: `number ${slow ? "odd" : ""}`, title: slow ? "Slow: five seconds or more" : null }, call.setup === null ? "" : span(call.setup)),
      cell("duration", { class: "number" }, call.duration === null ? "" : span(call.duration)),
      cell("status", { class: "cut" }, ...outcome(call)),
      cell("legs", { class: "number" }, call.legs > 1 ? h("strong", null, call.legs) : call.legs),
      cell("messages", { class: "number" }, call.messages),
      cell("call-id", null, h("div", { class: "line" },
        h("a", { class: "mono cut foreign", href: this.#link(call.call_id), tabindex: -1, title: oneLine(call.call_id) }, oneLine(call.call_id)),
        h("button", { type: "button", class: "quiet", tabindex: -1, title: "Copy the Call-ID (c)", "aria-label": "Copy the Call-ID" }, copyMark()))));
  }
}

function copyMark() {
  return svg("svg", { width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true", fill: "none", stroke: "currentColor", "stroke-width": 1.3 },
    svg("rect", { x: 1.5, y: 4, width: 8, height: 8.5, rx: 1.5 }), svg("path", { d: "M4.5 4V2.6A1.1 1.1 0 0 1 5.6 1.5h5.8a1.1 1.1 0 0 1 1.1 1.1v6.3A1.1 1.1 0 0 1 11.4 10H9.5" }));
}

function party(...parts) {
  const [user, domain] = parts.map((part) => oneLine(part ?? ""));
  const whole = [user, domain].filter(Boolean).join("@");
  return [h("span", { class: "foreign", title: whole }, user, domain && user ? h("span", { class: "domain" }, `@${domain}`) : domain)];
}

function outcome({ status, reason }) {
  if (status === null) return [h("span", { class: "badge s1", title: "No final reply was seen" }, "open")];
  const kind = EXPECTED.has(status) ? "s1" : `s${Math.floor(status / 100)}`;
  return [h("span", { class: `badge ${kind}` }, status), h("span", { class: "reason foreign muted", title: oneLine(reason ?? "") }, oneLine(reason ?? ""))];
}
