// The buttons over the ladder: which legs, how times are told, what is hidden; export, link, trace.

import { endpoint } from "../api.js";
import { fill, h } from "../dom.js";
import { copy } from "../notices.js";

const TIMES = [["relative", "Since start"], ["delta", "Delta"], ["absolute", "Time of day"]];
const SHOWN = [["rtcp", "RTCP", "RTCP and media reports (m)"], ["logs", "Logs", "Lines of logs (n)"], ["repeats", "Repeats", "Each retransmission and report in a row of its own (r)"]];
const FORMATS = [["pcap", "pcap", "for Wireshark and sngrep"], ["pcapng", "pcapng", "pcap with names and comments"], ["text", "text", "all messages to read"], ["json", "JSON", "for programs"]];

/** Fills `node`. `on.change(part)`: a part of the view changes; `on.trace()`: a trace is wanted, null where it may not be. */
export function tools(node, answer, view, on) {
  const choice = (name, entries) => h("span", { class: "joined", role: "group" }, entries.map(([value, words, title]) =>
    toggle(words, title, view[name] === value, () => on.change({ [name]: value }))));
  const place = [...node.querySelectorAll("button")].indexOf(document.activeElement);
  fill(node,
    answer.legs.length > 1 || view.legs === "one" ? choice("legs", [["all", "All legs", "Legs (l)"], ["one", "This leg", "Legs (l)"]]) : null,
    choice("time", TIMES.map((entry) => [...entry, "How times are told (t)"])),
    h("span", { class: "joined", role: "group", "aria-label": "Shown" }, SHOWN.map(([name, words, title]) =>
      toggle(words, title, view[name], () => on.change({ [name]: !view[name] })))),
    h("span", { class: "space" }),
    on.trace && h("button", { type: "button", title: "Send coming calls of this caller or callee elsewhere, too", on: { click: on.trace } }, "Trace…"),
    h("button", { type: "button", title: "Copy the link to this view", on: { click: () => copy(location.href, "Link") } }, "Copy link"),
    exports(view));
  node.querySelectorAll("button")[place]?.focus(); // a pressed button keeps the keyboard
}

const toggle = (words, title, pressed, click) =>
  h("button", { type: "button", title, "aria-pressed": String(Boolean(pressed)), on: { click } }, words);

function exports(view) {
  const entry = ([format, name, words]) => {
    const asked = { call_id: view.callId, store: view.store, legs: view.legs, format };
    return h("a", { href: endpoint("/export", asked), download: true, on: { click: () => { menu.open = false; } } }, h("strong", null, name), ` ${words}`);
  };
  const menu = h("details", { class: "menu", id: "export" }, h("summary", { class: "button", title: "Export (e)" }, "Export ▾"), h("div", { class: "panel list" }, FORMATS.map(entry)));
  menu.addEventListener("focusout", ({ relatedTarget }) => { menu.open = menu.open && (!relatedTarget || menu.contains(relatedTarget)); });
  return menu;
}
