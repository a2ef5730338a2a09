// Changes: asked for, done, and confirmed by the next looks at the switch. Not here: which there are (the panels).

import { ApiError, post } from "../api.js";
import { h } from "../dom.js";
import { complain, say } from "../notices.js";

const TRIES = 5; // looks after which a change that cannot be seen is spoken of

/** Makes changes, and tells what came of each in any case. */
export class Actions {
  #look;
  #seen;

  /** `look()` resolves behind a fresh look at the switch, which puts what it saw into `seen`. `may`: this person may change
   *  something; the switch has the last word. */
  constructor(look, seen, may) {
    this.#look = look;
    this.#seen = seen;
    this.may = may;
  }

  /** POST `body` to `path`. `words` tell what was done once a look `shows` it; `refused(words)` gets a refusal. Gives whether
   *  the switch did it. */
  async make(path, body, words, shows, refused = complain) {
    if (!(await this.#done(path, body, refused))) return false;
    for (let tries = 0; tries < TRIES; tries += 1) {
      await this.#look();
      if (shows(this.#seen)) {
        say(words);
        return true;
      }
    }
    complain(`The switch took it over, and nothing shows it yet: ${words}`);
    return true;
  }

  /** Lets the switch read its file again. */
  async reload() {
    const told = await this.#done("/reload", {}, complain);
    if (!told) return;
    const parts = [
      told.changed.length ? `Reloaded: ${told.changed.join(", ")}.` : "Reloaded: nothing in the file has changed.",
      told.restart.length ? `These need a restart: ${told.restart.join(", ")}.` : "",
    ];
    this.#seen.config = null; // it is asked for again
    await this.#look();
    say(parts.filter(Boolean).join(" "));
  }

  async #done(path, body, refused) {
    try {
      return await post(path, body);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      refused(error.message);
      return null;
    }
  }
}

/** A question that wants an answer. Resolves with true when the person says `yes`. */
export function sure(title, words, yes) {
  return new Promise((resolve) => {
    const box = dialog(title, [
      h("p", null, words),
      h("div", { class: "row answers" },
        h("span", { class: "space" }),
        h("button", { type: "button", on: { click: () => box.close() } }, "Cancel"),
        h("button", { type: "button", class: "danger", on: { click: () => box.close("yes") } }, yes)),
    ]);
    box.addEventListener("close", () => resolve(box.returnValue === "yes"));
  });
}

/** An open dialog with that body; it is gone when it is closed. */
export function dialog(title, body) {
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", on: { click: () => box.close() } }, "×");
  const box = h("dialog", { "aria-label": title, on: { close: () => box.remove() } },
    h("header", null, h("h2", null, title), close), h("div", { class: "body" }, body));
  document.body.append(box);
  box.showModal();
  return box;
}
