// The frame of every screen: header, capture state, who looks, theme, zone of times, keys that lead from screen to screen.

import { get } from "./api.js";
import { byId, fill, h, svg } from "./dom.js";
import { bind, help } from "./keys.js";
import { complain } from "./notices.js";
import { toggleTheme } from "./theme.js";
import { onZone, toggleZone, zone } from "./time.js";

const SCREENS = [
  ["search", "/", "Search", "s"],
  ["live", "/live", "Live", "l"],
  ["switch", "/switch", "Switch", "w"],
];
const EVERY = 15_000; // ms between two looks at the capture state

/** Draws the header. `screen` is the name of the one that is open. Resolves with who looks: {user, role}; without an
 *  answer it is somebody who may only read. */
export async function frame(screen) {
  const state = h("span", { class: "state", role: "status" });
  const who = h("span", { class: "state roomy" });
  fill(byId("top"),
    h("a", { class: "brand", href: "/", "aria-label": "hepswitch, to the search" }, mark(), h("span", null, "hepswitch")),
    h("nav", { "aria-label": "Screens" }, SCREENS.map(([name, path, words]) =>
      h("a", { href: path, "aria-current": name === screen ? "page" : null }, words))),
    h("span", { class: "space" }), state, who, zoneButton(), themeButton(),
    h("button", { type: "button", class: "quiet roomy", title: "Keyboard (?)", "aria-label": "Keyboard", on: { click: help } }, "?"));
  for (const [, path, words, key] of SCREENS) bind(`g ${key}`, `to ${words}`, () => location.assign(path));
  bind("t", "light or dark", toggleTheme);
  bind("z", "local time or UTC", toggleZone);
  bind("?", "this help", help);
  watch(state);
  try {
    const me = await get("/me");
    fill(who, me.user ? `${me.user} · ${me.role}` : me.role);
    return me;
  } catch (error) {
    complain(error);
    return { user: null, role: "read" };
  }
}

/** Looks at the capture state now and then, while somebody looks at the page. */
async function watch(state) {
  if (!document.hidden) {
    try {
      const { capturing, version } = await get("/status");
      const [kind, words] = capturing ? ["good", "capturing"] : ["odd", "capture is off"];
      state.title = `hepswitch ${version}: ${words}`;
      fill(state, h("span", { class: `dot ${kind}` }), h("span", { class: "words" }, words));
    } catch (error) {
      state.title = error.message;
      fill(state, h("span", { class: "dot bad" }), h("span", { class: "words" }, "no answer"));
    }
  }
  setTimeout(() => watch(state), EVERY);
}

function zoneButton() {
  const button = h("button", { type: "button", class: "quiet", title: "Times in local time or in UTC (z)", on: { click: toggleZone } }, zone());
  onZone(() => fill(button, zone()));
  return button;
}

function themeButton() {
  const half = svg("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("circle", { cx: 8, cy: 8, r: 6.2, fill: "none", stroke: "currentColor", "stroke-width": 1.6 }),
    svg("path", { d: "M8 2a6 6 0 0 1 0 12z", fill: "currentColor" }));
  return h("button", { type: "button", class: "quiet", title: "Light or dark (t)", "aria-label": "Light or dark", on: { click: toggleTheme } }, half);
}

function mark() {
  return svg("svg", { width: 20, height: 20, viewBox: "0 0 20 20", "aria-hidden": "true" },
    svg("path", { d: "M2 10h5l5-5.5h6M7 10h11M7 10l5 5.5h6", fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-linecap": "round", "stroke-linejoin": "round" }),
    svg("circle", { cx: 7, cy: 10, r: 2.2, fill: "currentColor" }));
}
