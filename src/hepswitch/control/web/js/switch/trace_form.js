// The form that starts a trace. Not here: the list of traces (`traces`).

import { h } from "../dom.js";
import { dialog } from "./actions.js";

const UNITS = { s: 1, m: 60, h: 3600, d: 86400 };
const SCOPES = { dialog: "whole calls", transaction: "single transactions", message: "single messages" };

/** Opens the form. A trace that is started shows in the next look. */
export function traceForm(seen, actions) {
  const known = [...Object.keys(seen.book.stores).map((name) => `store:${name}`), ...Object.keys(seen.destinations).map((name) => `destination:${name}`)];
  const wrong = h("p", { class: "alert bad", role: "alert", hidden: true });
  const form = h("form", { class: "fields", on: { submit } },
    field("Name", { name: "id", required: true, maxlength: 100, pattern: "[A-Za-z0-9_][A-Za-z0-9_.\\-]*", placeholder: "case-7" }, "letters, digits, _ . -"),
    field("To", { name: "to", required: true, list: "known-targets", placeholder: known[0] ?? "file:/var/log/trace.sip" },
      "store:NAME, destination:NAME, sip:HOST:PORT, hep:udp://HOST:PORT, file:PATH, syslog:; several with blanks between"),
    h("datalist", { id: "known-targets" }, known.map((value) => h("option", { value }))),
    field("Caller", { name: "caller", placeholder: "alice or alice@example.com" }, "user of From"),
    field("Callee", { name: "callee", placeholder: "+493012345678" }, "user of the Request-URI"),
    field("Address", { name: "ip", placeholder: "10.0.0.1 or 10.0.0.0/8" }, "captured source"),
    field("Filter", { name: "filter", class: "mono", placeholder: "sip.user_agent ~ \"^Acme\"" }, "all conditions that are given must hold"),
    h("div", { class: "field" }, h("label", { for: "trace-scope" }, "Scope"),
      h("select", { id: "trace-scope", name: "scope" }, Object.entries(SCOPES).map(([value, words]) => h("option", { value }, `${value}: ${words}`)))),
    field("Types", { name: "types", placeholder: "all" }, "for example sip|rtcp|log"),
    field("Ends after", { name: "seconds", value: "10m", placeholder: "when stopped", pattern: "\\d+(\\.\\d+)?[smhd]?" }, "90s, 10m, 2h; empty: when stopped"),
    field("or packets", { name: "packets", type: "number", min: 1, step: 1, placeholder: "any number" }, ""),
    wrong,
    h("div", { class: "row" }, h("span", { class: "space" }), h("button", { class: "primary" }, "Start the trace")));
  const box = dialog("Start a trace", form);

  async function submit(event) {
    event.preventDefault();
    const body = asked(new FormData(form));
    const shows = (look) => Boolean(look.traces.traces[body.id]);
    const refused = (words) => {
      wrong.textContent = words;
      wrong.hidden = false;
    };
    if (await actions.make("/traces", body, `Trace ${body.id} is started`, shows, refused)) box.close();
  }
}

/** A line of the form; what it may hold is told beside it. */
function field(name, props, words) {
  const [id, told] = [`trace-${props.name}`, `trace-${props.name}-words`];
  return h("div", { class: "field" }, h("label", { for: id }, name),
    h("input", { id, "aria-describedby": told, autocomplete: "off", spellcheck: "false", ...props }), h("small", { id: told }, words));
}

/** What the form says, as the API wants it: what is empty is left out. */
function asked(said) {
  const body = Object.fromEntries([...said].map(([name, text]) => [name, text.trim()]).filter(([, text]) => text));
  body.to = body.to.split(/\s+/);
  if (body.seconds) body.seconds = seconds(body.seconds);
  if (body.packets) body.packets = Number(body.packets);
  return body;
}

/** "10m" → 600; without a unit they are seconds. */
function seconds(text) {
  const [, number, unit] = /^(.*?)([smhd]?)$/.exec(text);
  return Number(number) * UNITS[unit || "s"];
}
