// What the call was, in two lines: who called whom, how it ended, when, and its Call-IDs.

import { address } from "../api.js";
import { fill, h } from "../dom.js";
import { copy } from "../notices.js";
import { micros, span, stamp } from "../time.js";
import { coloursOf, legName } from "./model.js";
import { oneLine } from "./text.js";

/** Fills `node` from the answer of /call. */
export function summary(node, answer, view) {
  const { call } = answer;
  document.title = `${call.from_user ?? "?"} → ${call.to_user ?? "?"} · hepswitch`;
  fill(node,
    h("div", { class: "row title" }, h("h1", { class: "unseen" }, "Call"), h("h2", { class: "foreign parties" }, party(call, "from"), " → ", party(call, "to")),
      h("span", { class: `badge ${kindOf(call)} foreign` }, oneLine(call.outcome)), h("span", { class: "space" }), facts(answer)),
    h("ul", { class: "legs", "aria-label": "Call-IDs" }, answer.legs.map((id, leg) => line(id, answer.legs.length > 1 && mark(leg, coloursOf(answer)), view))),
    answer.warnings.map((words) => h("p", { class: "alert" }, words)));
}

function party(call, side) {
  const [user, domain] = [call[`${side}_user`], call[`${side}_domain`]].map((text) => text && oneLine(text));
  return [h("span", null, user ?? domain ?? "?"), user && domain && h("span", { class: "domain" }, `@${domain}`)];
}

/** answered: good; a refusal of the callee: odd; what failed: bad. */
function kindOf({ status, outcome }) {
  if (outcome.startsWith("answered")) return "good";
  return status ? `s${Math.floor(status / 100)}` : "bad";
}

function facts({ call, events }) {
  const known = [
    ["start", stamp(micros(call.start), 3)],
    ["setup", call.setup !== null && span(call.setup)],
    ["duration", call.duration !== null && span(call.duration)],
    ["packets", String(events.length)],
  ];
  return h("dl", { class: "facts" }, known.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

const mark = (leg, colours) => h("span", { class: "leg", style: { "--ink": colours.leg(leg) } }, legName(leg));

/** A leg: its letter, its Call-ID (a link to that leg's own page), a button that copies it. */
function line(id, letter, view) {
  const here = id === view.callId;
  return h("li", null,
    letter,
    here ? h("strong", { class: "mono foreign id" }, oneLine(id))
      : h("a", { class: "mono foreign id", href: address("/call", { call_id: id, store: view.store }) }, oneLine(id)),
    h("button", { type: "button", class: "quiet small", title: `Copy the Call-ID`, on: { click: () => copy(id, "Call-ID") } }, "copy"));
}
