// The Switch screen: a look a second, and panels that say what it saw. Not here: the panels (`switch/`).

import { ApiError, get } from "./api.js";
import { byId } from "./dom.js";
import { frame } from "./nav.js";
import { onZone } from "./time.js";
import { Actions } from "./switch/actions.js";
import { agents } from "./switch/agents.js";
import { Past } from "./switch/books.js";
import { configuration } from "./switch/configuration.js";
import { destinations } from "./switch/destinations.js";
import { events } from "./switch/events.js";
import { flow } from "./switch/flow.js";
import { ledger } from "./switch/ledger.js";
import { Looks } from "./switch/looks.js";
import { processes } from "./switch/processes.js";
import { stores } from "./switch/stores.js";
import { summary } from "./switch/summary.js";
import { traces } from "./switch/traces.js";

/** What is asked for at every look; the configuration once, and after a reload. */
const QUESTIONS = {
  book: "/stats", status: "/status", destinations: "/destinations", traces: "/traces", agents: "/agents", events: "/events", config: "/config",
};
const PATIENCE = 10_000; // ms for an answer

/** What was seen last: an answer by the name of its question, and `per`, the rates that follow. */
const seen = { per: () => null };
const past = new Past();

async function look() {
  const names = Object.keys(QUESTIONS).filter((name) => name !== "config" || !seen.config);
  const answers = await Promise.allSettled(names.map((name) => get(QUESTIONS[name], {}, AbortSignal.timeout(PATIENCE))));
  const failures = new Set();
  const before = seen.book;
  answers.forEach(({ value, reason }, place) => {
    if (!reason) seen[names[place]] = value;
    else if (reason instanceof ApiError) failures.add(reason.message);
    else throw reason;
  });
  if (seen.book && seen.book !== before) seen.per = past.take(seen.book);
  away([...failures]);
  show();
}

function away(failures) {
  const line = byId("away");
  const words = failures.join(" ");
  line.hidden = !words;
  if (line.textContent !== words) line.textContent = words;
  byId("main").classList.toggle("stale", Boolean(words));
}

function show() {
  for (const [needs, panel] of panels) if (needs.every((name) => seen[name])) panel(seen);
}

const me = await frame("switch");
const actions = new Actions(() => looks.now(), seen, me.role === "operate");
const panels = [
  [["book", "status"], summary(byId("summary"), byId("hints"), actions)],
  [["book", "destinations", "traces", "config"], flow(byId("flow"))],
  [["book"], ledger(byId("books"))],
  [["book", "destinations"], destinations(byId("destinations"), actions)],
  [["book"], stores(byId("stores"))],
  [["book", "destinations", "traces"], traces(byId("traces"), actions)],
  [["agents"], agents(byId("agents"))],
  [["events"], events(byId("events"))],
  [["status"], processes(byId("processes"))],
  [["config"], configuration(byId("config"))],
];
const looks = new Looks(look);
onZone(show);
