// The configuration as the switch has it, without its secrets: asked for when somebody opens the fold.

import { ApiError, get } from "../api.js";
import { fill, h } from "../dom.js";

/** Draws the panel. */
export function configuration(panel) {
  const text = h("pre", { class: "body", tabindex: "0" });
  const fold = h("details", { on: { toggle: () => fold.open && read() } },
    h("summary", null, h("h2", null, "Configuration"), h("span", { class: "muted" }, "secrets are left out")), text);
  panel.append(fold);

  async function read() {
    try {
      fill(text, JSON.stringify(await get("/config"), null, 2));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fill(text, error.message);
    }
  }
}
