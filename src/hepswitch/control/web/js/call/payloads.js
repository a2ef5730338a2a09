// The octets of messages: as they came with the call, or asked for one by one when a call is too large for that.

import { get } from "../api.js";
import { decoded, unpacked } from "./text.js";

const told = new Map(); // what /message said, by the id of the event; failures are asked again

/** The question for an event's message: it is known by its own leg's Call-ID. */
export const asked = (call, view, event) => ({ call_id: call.legs[event.leg] ?? view.callId, id: event.id, store: view.store });

/** What `/message` tells of an event. Raises ApiError. */
export function details(call, view, event) {
  if (!told.has(event.id)) {
    const answer = get("/message", asked(call, view, event));
    answer.catch(() => told.delete(event.id));
    told.set(event.id, answer);
  }
  return told.get(event.id);
}

/** Its payload: {text, whole}; `whole` says that all of it is UTF-8. Raises ApiError. */
export async function payload(call, view, event) {
  const here = "payload" in event.message || "payload_base64" in event.message;
  const { payload: text, payload_base64: base64 } = here ? event.message : await details(call, view, event);
  return base64 === undefined ? { text: text ?? "", whole: true } : decoded(unpacked(base64));
}
