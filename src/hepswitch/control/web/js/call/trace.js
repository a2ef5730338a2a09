// The form that starts a dynamic trace of this caller or callee: coming calls go to one more place, for a while.

import { ApiError, get, post } from "../api.js";
import { h } from "../dom.js";
import { complain, say } from "../notices.js";

/** Opens the form for a call as /call tells it. */
export async function traceForm(call) {
  const places = h("datalist", { id: "trace-places" });
  const problem = h("p", { class: "alert bad", role: "alert", hidden: true });
  const field = (name, words, props) => h("label", { class: "wide" }, words, h("input", { name, ...props }));
  const side = (name, user, words) => h("label", null,
    h("input", { type: "radio", name: "side", value: name, checked: name === "caller", required: true }), words, h("code", { class: "foreign" }, user));
  const sides = [["caller", call.from_user, "calls from"], ["callee", call.to_user, "calls to"]].filter(([, user]) => user);
  const form = h("form", { method: "dialog", class: "body", on: { submit } },
    h("fieldset", null, h("legend", null, "What is traced"), sides.map((each) => side(...each))),
    field("to", "Where it goes", { required: true, list: "trace-places", placeholder: "destination:homer, store:lake, file:/var/log/x.sip" }), places,
    field("minutes", "For how many minutes", { type: "number", min: 1, value: 60, required: true }),
    field("id", "Its name", { required: true, maxlength: 100, pattern: "[A-Za-z0-9_][A-Za-z0-9_.\\-]*", value: idOf(call), title: "Letters, digits, _ . and -" }),
    problem,
    h("div", { class: "row" }, h("button", { class: "primary" }, "Start the trace"), h("button", { type: "button", on: { click: () => box.close() } }, "Not now")));
  const box = h("dialog", { "aria-label": "Trace", class: "trace", on: { close: () => box.remove() } }, h("header", null, h("h2", null, "Trace coming calls")), form);
  document.body.append(box);
  box.showModal();

  async function submit(event) {
    event.preventDefault();
    const said = new FormData(form);
    const chosen = said.get("side");
    const to = said.get("to").split(",").map((place) => place.trim()).filter(Boolean);
    const start = { id: said.get("id"), to, scope: "dialog", seconds: 60 * Number(said.get("minutes")), [chosen]: chosen === "caller" ? call.from_user : call.to_user };
    try {
      const { started } = await post("/traces", start);
      box.close();
      say(`Trace ${started} is on: see the Switch screen`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.textContent = error.message;
      problem.hidden = false;
    }
  }

  try {
    const [destinations, { stores }] = await Promise.all([get("/destinations"), get("/stores")]);
    const names = [...Object.keys(destinations).map((name) => `destination:${name}`), ...stores.map(({ name }) => `store:${name}`)];
    places.append(...names.map((value) => h("option", { value })));
  } catch (error) {
    complain(error);
  }
}

const idOf = (call) => `call-${(call.from_user ?? "x").replace(/[^A-Za-z0-9_.-]+/g, "")}`.slice(0, 100);
