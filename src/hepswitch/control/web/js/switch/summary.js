// The switch at a glance: how long it runs, how much goes through it, whether the books balance, capture on or off; below it
// what should be done about it, as the switch says. Not here: the details (the other panels).

import { h } from "../dom.js";
import { perSecond, whole } from "../figures.js";
import { sure } from "./actions.js";
import { buttons, keyed, put } from "./table.js";

const FACTS = [
  ["up", "Since the switch was started.", ({ book }) => [whole(book.uptime)]],
  ["version", "", ({ status }) => [status.version]],
  ["received", "Packets that all listeners read.", ({ per }) => [perSecond(per(all("received", "packets")))]],
  ["relayed", "Packets that destinations delivered.", ({ per }) => [perSecond(per(all("destinations", "delivered")))]],
  ["stored", "Packets that stores delivered.", ({ per }) => [perSecond(per(all("stores", "delivered")))]],
  ["books", "Whether every packet is accounted for: the sums below.", ({ book }) => (book.balanced ? ["balanced", "good"] : ["NOT BALANCED", "bad"])],
  ["capture", "Whether the switch puts packets into stores.", ({ status }) => (status.capturing ? ["on", "good"] : ["off", "odd"])],
];

const all = (kind, key) => (book) => Object.values(book[kind]).reduce((sum, row) => sum + row[key], 0);

/** Draws the panel. Gives what shows a look in it. */
export function summary(panel, hints, actions) {
  const facts = h("dl", { class: "facts" });
  const bar = h("div", { class: "actions" });
  panel.append(facts, bar);
  return (seen) => {
    keyed(facts, FACTS, ([name]) => name, fact, (node, [name, tip, draw]) => {
      const [words, tone] = draw(seen);
      put(node.firstChild, name, { tip });
      put(node.lastChild, words, { tone });
    });
    if (actions.may) buttons(bar, [capture(seen, actions), ["Reload", () => actions.reload()]]);
    keyed(hints, [...new Set(seen.status.hints)], (hint) => hint, () => h("p", { class: "alert" }), (node, hint) => put(node, hint));
  };
}

const fact = () => h("div", null, h("dt"), h("dd"));

function capture(seen, actions) {
  const set = (on) => actions.make("/capture", { on }, `Capture is ${on ? "on" : "off"}`, ({ status }) => status.capturing === on);
  if (!seen.status.capturing) return ["Switch capture on", () => set(true)];
  const ask = "Nothing is stored until it is switched on again. Packets go on to destinations, and are counted as refused by the stores.";
  return ["Switch capture off", async () => { if (await sure("Switch capture off?", ask, "Switch it off")) set(false); }, "danger"];
}
