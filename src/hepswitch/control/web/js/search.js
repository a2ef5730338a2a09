// The Search screen: joins the question (URL and form), the chart and the table. What is asked is in the address, so that it can
// be shared and the back button works.

import { address, download, gaveUp, get, latest } from "./api.js";
import { RateChart } from "./search/chart.js";
import { byId, fill, h } from "./dom.js";
import { bind } from "./keys.js";
import { frame } from "./nav.js";
import { complain, say } from "./notices.js";
import { check, followsNow, fromUrl, shown, written } from "./search/question.js";
import { Results } from "./search/results.js";
import { iso, micros, now, onZone } from "./time.js";

const PAGE = 100; // calls
const BUCKETS = 120;
const TYPED = 300; // ms without a key before what was typed is asked
const SLOW = 1000; // ms before a person may cancel
const FOLLOW = 5000; // ms between two looks at the live end
const MOST = 1000; // calls that the live end leaves on the page

const form = byId("question");
const [box, store, since, until, live] = ["q", "store", "since", "until", "live"].map(byId);
const results = new Results(byId("calls"), counted);
const chart = new RateChart(byId("chart"), { choose: (from, to) => go({ since: iso(from), until: iso(to), live: "" }), widen });
const [asking, paging] = [latest(), latest()];
let question = fromUrl(location.search);
let found = null; // the latest answer of /calls, with `next` of the last page
let looked = null; // the time that the chart shows: [since, until] in µs
let typing = 0;
let following = 0;

// ── the question ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Asks with these changes of the question. Typing replaces the address, everything else is a step to go back from. */
function go(changes, { typed = false } = {}) {
  clearTimeout(typing);
  const next = { ...question, ...changes };
  if (!followsNow(next)) next.live = "";
  try {
    check(next);
  } catch (error) {
    asking.giveUp(); // its answer would take the place of these words
    rested();
    return trouble(error);
  }
  question = next;
  const url = address("/", question);
  if (typed) history.replaceState(null, "", url);
  else if (url !== location.pathname + location.search) history.pushState(null, "", url);
  draw();
  ask();
}

/** The form as the question is. */
function draw() {
  if (document.activeElement !== box) box.value = question.q;
  store.value = question.store || store.dataset.first || "";
  since.value = shown(question.since);
  until.value = shown(question.until);
  live.checked = question.live === "1";
  live.disabled = !followsNow(question);
  const preset = question.until ? "" : question.since || "1h";
  for (const button of byId("presets").children) button.setAttribute("aria-pressed", String(button.value === preset));
}

async function ask() {
  clearTimeout(following);
  paging.giveUp();
  const begun = performance.now();
  const slow = setInterval(() => waiting(begun), 200);
  byId("busy").classList.add("on");
  await asking.ask(async (signal) => {
    const asked = { q: question.q.trim(), store: question.store, since: question.since, until: question.until };
    const rate = get("/rate", { ...asked, buckets: BUCKETS }, signal).then(drawn);
    rate.catch(() => {}); // its trouble is told where it is waited for, or is that of the calls
    try {
      const answer = await get("/calls", { ...asked, limit: PAGE }, signal);
      begin(answer);
      told(answer);
      await rate;
    } catch (error) {
      if (!gaveUp(error)) trouble(error);
    } finally {
      clearInterval(slow);
      if (!signal.aborted) rested();
    }
  });
}

/** These are the newest calls; others come below them. */
function begin(answer) {
  paging.giveUp();
  found = answer;
  results.show(answer.calls, question.store);
  older();
}

/** The newest calls once more, in the place of what has changed. */
async function follow() {
  if (document.hidden) return rested();
  await asking.ask(async (signal) => {
    const asked = { q: question.q.trim(), store: question.store, since: question.since };
    try {
      const [answer, rate] = await Promise.all([get("/calls", { ...asked, limit: PAGE }, signal), get("/rate", { ...asked, buckets: BUCKETS }, signal)]);
      if (results.renew(answer.calls, answer.next ? MOST : Infinity)) found = { ...found, seconds: answer.seconds };
      else begin(answer);
      drawn(rate);
      trouble(null, answer.warnings);
    } catch (error) {
      if (!gaveUp(error)) trouble(error);
    } finally {
      if (!signal.aborted) rested();
    }
  });
}

function rested() {
  byId("busy").classList.remove("on");
  byId("slow").hidden = true;
  byId("calls").closest("section").classList.remove("stale");
  if (question.live) following = setTimeout(follow, FOLLOW);
}

function waiting(begun) {
  const seconds = (performance.now() - begun) / 1000;
  if (seconds * 1000 < SLOW) return;
  byId("slow").hidden = false;
  byId("calls").closest("section").classList.add("stale");
  byId("slow").firstElementChild.textContent = `Searching for ${seconds.toFixed(0)} s`;
}

function cancel() {
  asking.giveUp();
  rested();
  say("The question was given up. What is shown is from before.");
}

/** Three times the time, around the same middle, but not beyond now. */
function widen() {
  if (!looked) return;
  const [from, to] = looked;
  const end = to + (to - from);
  const reaches = end >= now();
  const begin = (reaches ? now() : end) - 3 * (to - from);
  go({ since: iso(begin), until: reaches ? "" : iso(end) });
}

// ── what is told ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function told(answer) {
  trouble(null, answer.warnings);
  const asked = Object.entries(answer.asked).filter(([, value]) => value !== null && value !== "");
  fill(byId("read"), asked.length ? "read as" : null, asked.map(([name, value]) => h("span", { class: "asked" }, `${name.replaceAll("_", " ")} `, h("b", { class: "foreign" }, String(value)))));
}

function drawn(rate) {
  chart.show(rate);
  looked = rate.since && rate.until ? [micros(rate.since), micros(rate.until)] : null;
}

function trouble(error, warnings = []) {
  box.setAttribute("aria-invalid", String(Boolean(error) && error.status === 400));
  fill(byId("trouble"), error ? h("div", { class: "alert bad" }, error.message) : null, warnings.map((words) => h("div", { class: "alert" }, words)));
}

function counted(count, chosen) {
  byId("count").textContent = `${count.toLocaleString("en")}${found?.next ? "+" : ""} ${count === 1 ? "call" : "calls"}`;
  byId("count").title = found ? `The store answered in ${found.seconds.toFixed(3)} s` : "";
  byId("chosen").textContent = chosen ? `${chosen} chosen` : "";
  byId("export").disabled = !chosen;
}

/** Below the table: that there are older calls, that there are none, or that there is nothing at all. */
function older() {
  const end = byId("end");
  if (found.next) {
    fill(end, h("button", { type: "button", on: { click: more } }, "Older calls"));
    beneath.disconnect();
    beneath.observe(end);
  } else if (found.calls.length || found.paged) {
    fill(end, "These are all.");
  } else {
    fill(end, nothing());
  }
}

const beneath = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting) && found?.next) more(); }, { rootMargin: "600px" });

async function more() {
  beneath.disconnect();
  fill(byId("end"), "Older calls …");
  await paging.ask(async (signal) => {
    try {
      const asked = { q: question.q.trim(), store: question.store, since: found.since, until: found.until };
      const answer = await get("/calls", { ...asked, limit: PAGE, cursor: found.next }, signal);
      found = { ...found, next: answer.next, paged: true };
      results.append(answer.calls);
      older();
    } catch (error) {
      if (gaveUp(error)) return;
      fill(byId("end"), h("span", { class: "bad" }, `${error.message} `), h("button", { type: "button", on: { click: more } }, "Try again"));
    }
  });
}

function nothing() {
  const wider = h("button", { type: "button", on: { click: () => go({ since: "7d", until: "" }) } }, "Look at the last 7 days");
  const hint = h("div", { class: "hint" }, h("strong", null, question.q ? "No call is like that in this time." : "No calls in this time."));
  hint.append(h("p", null, question.since === "7d" && !question.until ? "Is it the right store, and does its agent send here?" : wider));
  if (!question.q) get("/status").then(({ listeners }) => hint.append(h("p", null, `Agents send HEP to ${listeners.join(", ")}.`)), complain);
  return hint;
}

// ── what a person does ────────────────────────────────────────────────────────────────────────────────────────────────────

async function exportChosen() {
  const chosen = results.chosen;
  if (!chosen.length) return;
  try {
    await download("/export", { call_id: chosen, format: "pcap", legs: "all", store: question.store });
    say(chosen.length === 1 ? "One call saved" : `${chosen.length} calls saved`);
  } catch (error) {
    complain(error);
  }
}

/** Asks for what the form says, unless a time in it is none. */
function submit() {
  const times = [since, until].map((field) => {
    try {
      const before = question[field.id]; // what was not touched stays exact, and in an hour that comes twice the same
      const time = field.value === shown(before) ? before : written(field.value);
      field.removeAttribute("aria-invalid");
      return time;
    } catch (error) {
      field.setAttribute("aria-invalid", "true");
      trouble(error);
      return null;
    }
  });
  if (!times.includes(null)) go({ q: box.value, since: times[0], until: times[1] });
}

async function stores() {
  try {
    const answer = await get("/stores");
    if (answer.stores.length < 2) return;
    fill(store, answer.stores.map(({ name, kind }) => h("option", { value: name }, name === kind ? name : `${name} (${kind})`)));
    store.dataset.first = answer.stores.find((one) => one.default)?.name ?? "";
    store.hidden = false;
    draw();
  } catch (error) {
    complain(error);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
box.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ q: box.value }, { typed: true }), TYPED);
});
box.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") { event.preventDefault(); results.move(0); }
});
store.addEventListener("change", () => go({ store: store.value === store.dataset.first ? "" : store.value }));
for (const field of [since, until]) field.addEventListener("change", submit);
live.addEventListener("change", () => go({ live: live.checked ? "1" : "" }));
byId("presets").addEventListener("click", (event) => { if (event.target.value) go({ since: event.target.value, until: "" }); });
byId("examples").addEventListener("click", (event) => {
  if (event.target.tagName !== "BUTTON") return;
  byId("examples").hidePopover();
  box.value = event.target.textContent;
  go({ q: box.value });
});
byId("export").addEventListener("click", exportChosen);
byId("slow").lastElementChild.addEventListener("click", cancel);
addEventListener("popstate", () => {
  question = fromUrl(location.search);
  box.value = question.q;
  draw();
  ask();
});
onZone(draw);

bind("/", "to the box", () => box.select());
bind(["j", "ArrowDown"], "next call", () => results.move(1));
bind(["k", "ArrowUp"], "previous call", () => results.move(-1));
bind("Enter", "open the call", () => results.open());
bind(["x", " "], "choose the call", () => results.toggle());
bind("c", "copy its Call-ID", () => results.copyCallId());
bind("e", "export as pcap: the chosen calls, or this one", exportChosen);
bind("-", "look at a wider time", widen);
bind("r", "ask again", ask);
bind("Escape", "give a slow question up; leave the box", () => (byId("slow").hidden ? document.activeElement.blur() : cancel()));

frame("search");
stores();
box.value = question.q;
draw();
ask();
if (!question.q && matchMedia("(pointer: fine)").matches) box.focus();
