// The Call screen: loads a call, and keeps the view, its URL and what is drawn the same.

import { address, gaveUp, get, latest } from "../api.js";
import { byId, fill, h } from "../dom.js";
import { bind } from "../keys.js";
import { frame } from "../nav.js";
import { complain, say } from "../notices.js";
import { onZone } from "../time.js";
import { ladder } from "./ladder.js";
import { messagePanel } from "./message.js";
import { counterpart } from "./model.js";
import { summary } from "./summary.js";
import { tools } from "./tools.js";
import { traceForm } from "./trace.js";
import { nextTime, paramsOf, viewOf } from "./view.js";

const PAGE = 10; // rows of PageUp and PageDown
const view = viewOf(location.search);
const loading = latest();
let [answer, me, marks] = [null, { role: "read" }, []];

const flow = ladder({ select: follow, open: (event) => change({ event: event.id, other: null }) });
const panel = messagePanel({
  step: (by) => flow.step(by), tab: (tab) => change({ tab }), open: (id) => change({ event: id }), compare, close,
});

/** Another view: of the same call where that will do. */
function change(part) {
  const [legs, rows] = [view.legs, JSON.stringify(shape())];
  Object.assign(view, part);
  history.replaceState(null, "", address(location.pathname, paramsOf(view)));
  if (view.legs !== legs) return load();
  if (!answer) return undefined;
  if (JSON.stringify(shape()) !== rows) {
    toolbar();
    ladderAgain();
  }
  return detail();
}

/** What the rows of the ladder depend on. */
const shape = () => [view.time, view.rtcp, view.logs, view.repeats];

function ladderAgain() {
  const chosen = flow.chosen();
  flow.show(answer, view);
  flow.select(view.event ?? chosen?.id);
}

async function load() {
  byId("busy").classList.add("on");
  try {
    const asked = { call_id: view.callId, store: view.store, legs: view.legs };
    answer = await loading.ask((signal) => get("/call", asked, signal));
    draw();
  } catch (error) {
    if (gaveUp(error)) return;
    answer = null;
    failed(error);
  }
  byId("busy").classList.remove("on");
  byId("main").removeAttribute("aria-busy");
}

function draw() {
  const start = performance.now();
  requestAnimationFrame(() => performance.measure("call-drawn", { start })); // for who looks with the browser's tools
  summary(byId("summary"), answer, view);
  toolbar();
  const fresh = !flow.element.isConnected;
  if (fresh) fill(byId("stage"), flow.element, panel.element);
  const gone = [view.event, view.other].filter((id) => id && !answer.events.some((event) => event.id === id));
  if (gone.length) {
    say("The message of this link is not among these legs");
    change(gone.includes(view.event) ? { event: null, other: null } : { other: null });
  }
  ladderAgain();
  detail();
  if (fresh) flow.focus();
}

const toolbar = () => tools(byId("tools"), answer, view, {
  change, trace: me.role === "operate" && (answer.call.from_user || answer.call.to_user) ? () => traceForm(answer.call) : null,
});

function detail() {
  byId("stage").classList.toggle("open", Boolean(view.event));
  byId("stage").classList.toggle("comparing", Boolean(view.event && view.other));
  if (view.event) panel.show(answer, view, flow.row(view.event));
  else panel.hide();
}

function failed(error) {
  fill(byId("tools"));
  byId("stage").className = "";
  const words = error.status === 404 ? "No such call" : "The call was not read";
  const again = h("button", { type: "button", on: { click: load } }, "Ask again");
  fill(byId("stage"), h("div", { class: "hint", role: "alert" }, h("strong", null, words), h("p", { class: "foreign" }, error.message),
    h("p", { class: "row" }, again, h("a", { class: "button", href: "/" }, "To the search"))));
}

/** The open message follows the chosen row. */
function follow(event) {
  const row = flow.row(event.id);
  if (view.event && view.event !== event.id && !row.repeats.some((other) => other.id === view.event)) change({ event: event.id, other: null });
}

/** Marks the chosen message for a comparison, or not; the latest two count. */
function mark() {
  const chosen = flow.chosen();
  if (!chosen) return;
  marks = marks.includes(chosen.id) ? marks.filter((id) => id !== chosen.id) : [...marks, chosen.id].slice(-2);
  flow.mark(marks);
}

/** Two marked messages, or the chosen one with the marked one, or with the one that it is best compared with. */
function compare() {
  const chosen = marks.length === 2 ? answer?.events.find(({ id }) => id === marks[1]) : current();
  if (!chosen) return complain("Choose a message first: j and k, or a click");
  const other = marks.find((id) => id !== chosen.id) ?? counterpart(answer.events, chosen)?.id;
  if (!other) return complain("There is no other message to compare it with");
  return change({ event: chosen.id, other });
}

const current = () => answer?.events.find(({ id }) => id === view.event) ?? flow.chosen();

/** One step back: out of the menu, from a difference to its message, from a message to the ladder, to the search. */
function close() {
  if (byId("tools").querySelector("details[open]")) byId("export").open = false;
  else if (view.other) change({ other: null });
  else if (view.event) change({ event: null });
  else toSearch();
}

const toSearch = () => (history.length > 1 && document.referrer.startsWith(`${location.origin}/`) ? history.back() : location.assign("/"));

function keys() {
  bind(["j", "ArrowDown"], "next message", () => flow.step(1));
  bind(["k", "ArrowUp"], "message before", () => flow.step(-1));
  bind("PageDown", "ten messages down", () => flow.step(PAGE));
  bind("PageUp", "ten messages up", () => flow.step(-PAGE));
  bind(["Home", "End"], "first, last message", ({ key }) => flow.step(key === "End" ? Infinity : -Infinity));
  bind("Enter", "open the message", () => flow.chosen() && change({ event: flow.chosen().id, other: null }));
  bind("p", "raw or parsed", () => change({ tab: view.tab === "raw" ? "parsed" : "raw" }));
  bind(" ", "mark the message for a comparison", mark);
  bind("d", "compare with the marked message, or the one like it before", compare);
  bind("t", "since start, delta, time of day", () => change({ time: nextTime(view.time) }));
  bind("r", "repeats folded, or each of them", () => change({ repeats: !view.repeats }));
  bind("m", "RTCP and media reports", () => change({ rtcp: !view.rtcp }));
  bind("n", "lines of logs", () => change({ logs: !view.logs }));
  bind(["l", "x"], "all legs, or this one", () => change({ legs: view.legs === "all" ? "one" : "all" }));
  bind("e", "export", () => answer && openExports());
  bind("/", "to the search", toSearch);
  bind("Escape", "close, then back to the search", close);
}

function openExports() {
  byId("export").open = true;
  byId("export").querySelector("a").focus();
}

async function start() {
  const who = frame("call");
  keys();
  onZone(() => answer && draw());
  if (!view.callId) {
    failed({ status: 404, message: "The address of this page names no call: it ends with call?call_id=…" });
    return;
  }
  await Promise.all([load(), who.then((told) => { me = told; })]);
  if (answer) toolbar();
}

start();
