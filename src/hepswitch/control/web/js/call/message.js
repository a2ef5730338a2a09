// The panel with one message, raw or parsed, or with two compared. At a wide screen it stands beside the ladder, on a phone
// it is a sheet over it. Not here: which message is open (main.js).

import { ApiError, endpoint } from "../api.js";
import { fill, h } from "../dom.js";
import { copy } from "../notices.js";
import { clock, micros, stamp } from "../time.js";
import { label } from "./arrows.js";
import { compared } from "./compare.js";
import { highlighted } from "./highlight.js";
import { parsed } from "./parsed.js";
import { asked, details, payload } from "./payloads.js";
import { oneLine } from "./text.js";

/** `on`: step(by), tab(name), compare(), close(), open(id). Gives {element, show(call, view, row), hide()}. */
export function messagePanel(on) {
  const title = h("h2", { class: "foreign cut" });
  const facts = h("p", { class: "facts muted foreign" });
  const repeats = h("p", { class: "repeats" });
  const body = h("div", { class: "body", tabindex: "0", role: "tabpanel", "aria-labelledby": "tab-raw" });
  const tabs = ["raw", "parsed"].map((name) => h("button", {
    type: "button", role: "tab", id: `tab-${name}`, on: { click: () => on.tab(name) },
  }, { raw: "Raw", parsed: "Parsed" }[name]));
  const tablist = h("div", { role: "tablist", "aria-label": "Message" }, tabs);
  const tools = h("span", { class: "row" });
  const element = h("aside", { class: "panel message", "aria-label": "Message", hidden: true },
    h("header", null, button("‹", "Message before (k)", () => on.step(-1)), button("›", "Next message (j)", () => on.step(1)),
      title, h("span", { class: "space" }), button("×", "Close (Esc)", on.close)),
    facts, repeats, h("div", { class: "row bar" }, tablist, h("span", { class: "space" }), tools), body);
  let showing = 0;

  /** Shows the message of `view.event`, or how it differs from that of `view.other`. */
  async function show(call, view, row) {
    const mine = (showing += 1);
    const byIds = (id) => call.events.find((event) => event.id === id);
    const [event, other] = [byIds(view.event), view.other && byIds(view.other)];
    element.hidden = false;
    element.classList.toggle("comparing", Boolean(other));
    fill(title, other ? "Difference" : label({ event, repeats: [] }));
    fill(facts, other ? "" : told(event));
    fill(repeats, other ? null : times(event, row));
    tablist.hidden = Boolean(other);
    for (const tab of tabs) tab.ariaSelected = String(tab.id === `tab-${view.tab}`);
    body.setAttribute("aria-labelledby", `tab-${view.tab}`);
    let nodes = null;
    try {
      nodes = await (other ? difference(call, view, event, other) : one(call, view, event));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      nodes = [[], h("p", { class: "alert bad" }, error.message)];
    }
    if (mine !== showing) return;
    fill(tools, nodes[0]);
    fill(body, nodes.slice(1));
    body.dataset.id = event.id;
    body.scrollTop = 0;
  }

  // Both give the buttons for what they show, then what they show.

  async function one(call, view, event) {
    const { text, whole } = await payload(call, view, event);
    const raw = { ...asked(call, view, event), format: "raw" };
    const buttons = [button("Compare", "Compare with a marked message, or the one like it before (d)", on.compare),
      button("Copy", "Copy the raw message", () => copy(text, "Message")),
      h("a", { class: "button", href: endpoint("/message", raw), download: true, title: "Save its octets" }, "Save")];
    const odd = whole ? null : h("p", { class: "alert" }, "Not all of it is UTF-8: such octets are shown as \\xNN. Save gives them as they are.");
    if (view.tab === "parsed") return [buttons, odd, parsed(await details(call, view, event), text)];
    return [buttons, odd, text ? h("div", { class: "raw mono foreign" }, highlighted(text, event.kind)) : h("p", { class: "hint" }, "The packet has no payload.")];
  }

  async function difference(call, view, event, other) {
    const pair = [other, event].sort((a, b) => micros(a.at) - micros(b.at));
    const texts = await Promise.all(pair.map((one) => payload(call, view, one)));
    const sides = pair.map((one, place) => ({ title: `${label({ event: one, repeats: [] })} · ${clock(micros(one.at), 3)} · ${ends(one)}`, text: texts[place].text }));
    return [button("Back to the message", "Close the difference (Esc)", on.close), compared(...sides)];
  }

  function times(event, row) {
    if (!row?.repeats.length) return null;
    return [`${row.repeats.length + 1} times: `, [row.event, ...row.repeats].map((each) =>
      h("button", { type: "button", class: "quiet", "aria-pressed": String(each === event), on: { click: () => on.open(each.id) } },
        clock(micros(each.at), 3)))];
  }

  return { element, show, hide() { showing += 1; element.hidden = true; } };
}

const button = (words, title, click) => h("button", { type: "button", title, "aria-label": words.length < 2 ? title : null, on: { click } }, words);

/** "192.0.2.1:5060 → [2001:db8::1]:5060" */
function ends({ message }) {
  const one = (ip, port) => `${String(ip ?? "?").includes(":") ? `[${ip}]` : ip ?? "?"}${port ? `:${port}` : ""}`;
  return `${one(message.src_ip, message.src_port)} → ${one(message.dst_ip, message.dst_port)}`;
}

function told(event) {
  const { message } = event;
  const agent = [message.node_name && oneLine(message.node_name), message.captagent_id !== null && `agent ${message.captagent_id}`].filter(Boolean);
  return [`${stamp(micros(event.at), 6)} · ${ends(event)} · ${[message.proto, `${message.size} octets`, ...agent].filter(Boolean).join(" · ")}`,
    event.copies > 1 && ` · seen by ${event.copies} agents`];
}
