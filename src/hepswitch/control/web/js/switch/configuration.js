// The configuration as the switch has it, without its secrets.

import { h } from "../dom.js";
import { put } from "./table.js";

/** Draws the panel. Gives what shows a look in it. */
export function configuration(panel) {
  const text = h("pre", { class: "body", tabindex: "0" });
  panel.append(h("details", null, h("summary", null, h("h2", null, "Configuration"), h("span", { class: "muted" }, "secrets are left out")), text));
  return ({ config }) => put(text, JSON.stringify(config, null, 2));
}
