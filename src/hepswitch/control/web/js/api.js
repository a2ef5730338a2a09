// The HTTP API as functions. Every failure is an ApiError with words for a person; a question that was given up is an
// AbortError, which is no failure (`gaveUp`).

import { h } from "./dom.js";

const ROOT = "/api/v1";

/** What went wrong, in words; `status` is that of HTTP, 0 when the switch did not answer at all. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const gaveUp = (error) => error instanceof DOMException && error.name === "AbortError";

/** `path?…` with those parameters that are there: a list gives one for each item. */
export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const item of [value].flat()) if (item !== null && item !== undefined && item !== "") query.append(name, item);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** The address of an endpoint: for links that download. */
export const endpoint = (path, params) => address(ROOT + path, params);

/** What the endpoint tells. Raises ApiError. */
export async function get(path, params, signal) {
  return body(await ask(endpoint(path, params), { signal }), "json");
}

/** Saves what the endpoint gives as a file, under the name that the server gave it. Raises ApiError: a plain link would show
 *  a person the error as a file. */
export async function download(path, params, signal) {
  const answer = await ask(endpoint(path, params), { signal });
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1] ?? "download";
  const url = URL.createObjectURL(await body(answer, "blob"));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A change. Raises ApiError. */
export async function post(path, change) {
  const headers = { "Content-Type": "application/json" };
  return body(await ask(endpoint(path), { method: "POST", headers, body: JSON.stringify(change) }), "json");
}

/** One question at a time: a new one gives up the one before it. `ask(signal)` makes the promise. */
export function latest() {
  let running = null;
  const give = () => running?.abort();
  return {
    giveUp: give,
    ask(question) {
      give();
      running = new AbortController();
      return question(running.signal);
    },
  };
}

/** Follows a stream of server-sent events until `signal` aborts; comes back by itself when the connection breaks.
 *  `on[event](data)` for each event, `on.state("open" | "away", words)` for the connection. Resolves when aborted; raises
 *  ApiError when the switch refuses (400 to 499). Not EventSource: that one cannot tell why it was refused. */
export async function events(path, params, on, signal) {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    try {
      const answer = await ask(endpoint(path, params), { signal });
      on.state?.("open", "");
      wait = 500;
      await read(answer.body.pipeThrough(new TextDecoderStream()).getReader(), on);
      on.state?.("away", "the switch ended the stream");
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError) && !(error instanceof TypeError)) throw error;
      if (error.status >= 400 && error.status < 500) throw error;
      on.state?.("away", error instanceof ApiError ? error.message : "the connection broke");
    }
    await pause(wait, signal);
    if (signal.aborted) return;
  }
}

async function read(reader, on) {
  let [rest, name, data] = ["", "message", []];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("event:")) name = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      else if (line === "") {
        if (data.length) on[name]?.(JSON.parse(data.join("\n")));
        [name, data] = ["message", []];
      }
    }
  }
}

function pause(ms, signal) {
  return new Promise((go) => {
    const timer = setTimeout(go, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); go(); }, { once: true });
  });
}

async function ask(url, init) {
  let answer;
  try {
    answer = await fetch(url, init);
  } catch (error) {
    if (gaveUp(error)) throw error;
    throw new ApiError("The switch does not answer. Is it running, and is the network up?", 0);
  }
  if (answer.ok) return answer;
  throw new ApiError(await reason(answer), answer.status);
}

/** All of the answer, as `kind`: it may break off, or be somebody else's (a proxy's). */
async function body(answer, kind) {
  try {
    return await answer[kind]();
  } catch (error) {
    if (gaveUp(error)) throw error;
    throw new ApiError("The answer broke off: the switch's log may say why. Ask again, or about less", answer.status);
  }
}

async function reason(answer) {
  const text = await answer.text();
  try {
    return String(JSON.parse(text).error ?? text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return text || `The switch answers ${answer.status} ${answer.statusText}`;
  }
}
