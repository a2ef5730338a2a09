// The Live screen: packets as they go through the switch. Not here: what is kept of them (`live/tail`), how they look
// (`live/list`, `live/packet`).

import { ApiError, events, gaveUp } from "./api.js";
import { byId, fill } from "./dom.js";
import { count, perSecond } from "./figures.js";
import { bind } from "./keys.js";
import { frame } from "./nav.js";
import { List } from "./live/list.js";
import { details } from "./live/packet.js";
import { Tail } from "./live/tail.js";


const tail = new Tail();
const filter = byId("filter");
const payload = byId("payload");
let stream = null; // the AbortController of what is watched
let shown = null; // the packet whose details are open
let due = false; // the figures are about to be shown
let unasked = 0; // packets that went by while looking had used up its share of the time

const list = new List(tail, byId("list"), {
  opened: open,
  following: (yes) => { byId("end").hidden = yes; },
});

// ── The stream ──

/** Watches what the filter says, from now on. */
async function watch() {
  stream?.abort();
  const mine = (stream = new AbortController());
  let broken = null; // when the connection went away
  let reason = "";
  wrong("");
  state("", "connecting");
  const on = {
    packet(packet) {
      tail.add(packet);
      list.draw();
      figures();
    },
    missed({ missed, skipped }) {
      tail.miss(missed);
      unasked += skipped;
      figures();
    },
    rate: rates,
    state(kind, words) {
      if (kind === "open" && broken) tail.note(`not connected for ${Math.round((Date.now() - broken) / 1000)} s: ${reason}; what passed meanwhile is not here`);
      if (kind === "open") broken = null;
      else broken ??= Date.now();
      if (kind === "away") reason = words;
      state(kind === "open" ? "good" : "bad", kind === "open" ? "watching" : `${words}, trying again`);
      if (kind === "away") fill(byId("rate"), "");
      list.draw();
    },
  };
  try {
    await events("/live", { filter: filter.value.trim(), payload: payload.checked ? "true" : "false" }, on, mine.signal);
  } catch (error) {
    if (gaveUp(error) || mine.signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    state("bad", "not watching");
    fill(byId("rate"), "");
    wrong(error.message);
  }
}

function rates({ seen, matched, seconds }) {
  fill(byId("rate"), `${perSecond(seen / seconds)} pass · ${perSecond(matched / seconds)} match`);
}

function wrong(words) {
  const line = byId("wrong");
  line.hidden = !words;
  line.textContent = words;
  filter.setAttribute("aria-invalid", String(Boolean(words)));
}

function state(kind, words) {
  const [dot, text] = byId("state").children;
  dot.className = `dot ${tail.paused && kind === "good" ? "odd" : kind}`;
  text.textContent = tail.paused && kind === "good" ? "paused" : words;
}

/** What is shown, what is not, what waits. */
function figures() {
  if (due) return;
  due = true;
  setTimeout(() => {
    due = false;
    byId("shown").textContent = `${count(tail.shown)} shown${tail.first ? `, the last ${count(tail.most)} kept` : ""}`;
    byId("unshown").textContent = tail.unshown ? `${count(tail.unshown)} not shown` : "";
    byId("unasked").textContent = unasked ? `${count(unasked)} not looked at` : "";
    byId("held").textContent = tail.paused ? `${count(tail.held)} waiting` : "";
    byId("none").hidden = tail.rows.length > 0;
    byId("none").textContent = tail.paused ? "Paused." : "No packet has matched yet. Packets show as they go through the switch.";
  }, 100);
}

// ── What a person does ──

function pause() {
  if (tail.paused) tail.resume();
  else tail.paused = true;
  byId("pause").setAttribute("aria-pressed", String(tail.paused));
  byId("pause").textContent = tail.paused ? "Go on" : "Pause";
  list.draw();
  figures();
}

function clear() {
  tail.clear();
  unasked = 0;
  close();
  list.toEnd();
  figures();
}

/** Watches anew; what the filter says is in the address, so that it can be shared. */
function apply() {
  const words = filter.value.trim();
  history.pushState(null, "", words ? `?${new URLSearchParams({ filter: words })}` : location.pathname);
  restart();
}

function restart() {
  clear();
  watch();
}

function fromAddress() {
  filter.value = new URLSearchParams(location.search).get("filter") ?? "";
  restart();
}

function open(packet) {
  shown = packet;
  byId("details").hidden = false;
  details(byId("details"), packet, payload.checked, askForPayloads, close);
  list.draw();
}

function close() {
  if (!shown) return;
  shown = null;
  byId("details").hidden = true;
  list.leave();
}

/** With payloads from now on, or without; the rows that are there stay. */
function turn() {
  tail.note(`${payload.checked ? "with" : "without"} payloads from here on`);
  watch();
  if (shown) open(shown);
}

function askForPayloads() {
  payload.checked = true;
  turn();
}

byId("bar").addEventListener("submit", (event) => { event.preventDefault(); apply(); });
byId("pause").addEventListener("click", pause);
byId("clear").addEventListener("click", clear);
byId("end").addEventListener("click", () => list.toEnd());
payload.addEventListener("change", turn);
addEventListener("popstate", fromAddress);
bind(" ", "pause, or go on", pause);
bind("c", "clear the list", clear);
bind("/", "to the filter", () => { filter.focus(); filter.select(); });
bind(["j", "ArrowDown"], "the next packet", () => list.move(1));
bind(["k", "ArrowUp"], "the packet before", () => list.move(-1));
bind("Enter", "all of the packet", () => list.open());
bind("e", "to the newest, and follow", () => { close(); list.leave(); list.toEnd(); });
bind("Escape", "close the packet, leave the field", () => { close(); filter.blur(); });

frame("live");
fromAddress();
