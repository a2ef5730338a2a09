// What the screen shows of a call, and the URL that says so: a link that is sent to somebody opens the same view.
// `event` is the message that is open, `other` the one it is compared with; null when there is none.

const TIMES = ["relative", "delta", "absolute"];

/** The view that the URL of this page asks for. */
export function viewOf(search) {
  const asked = new URLSearchParams(search);
  return {
    callId: asked.get("call_id") ?? "",
    store: asked.get("store"),
    legs: asked.get("legs") === "one" ? "one" : "all",
    event: asked.get("event"),
    other: asked.get("with"),
    tab: asked.get("tab") === "parsed" ? "parsed" : "raw",
    time: TIMES.includes(asked.get("time")) ? asked.get("time") : TIMES[0],
    rtcp: asked.get("rtcp") !== "no",
    logs: asked.get("logs") !== "no",
    repeats: asked.get("repeats") === "yes",
  };
}

/** Its parameters: what is as always is left out. */
export function paramsOf(view) {
  return {
    call_id: view.callId,
    store: view.store,
    legs: view.legs === "one" ? "one" : null,
    time: view.time === TIMES[0] ? null : view.time,
    rtcp: view.rtcp ? null : "no",
    logs: view.logs ? null : "no",
    repeats: view.repeats ? "yes" : null,
    event: view.event,
    with: view.other,
    tab: view.event && view.tab === "parsed" ? "parsed" : null,
  };
}

/** The way of telling the time that follows `time`. */
export const nextTime = (time) => TIMES[(TIMES.indexOf(time) + 1) % TIMES.length];
