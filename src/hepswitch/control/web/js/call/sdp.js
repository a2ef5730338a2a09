// What a line of a session description says, in words (RFC 8866, RFC 3264, RFC 3551). Tolerant: a line that it does not
// know has no words. Not here: whether an answer fits its offer.

// Static payload types of RFC 3551; others are named by a=rtpmap.
const STATIC = {
  0: "PCMU", 3: "GSM", 4: "G723", 5: "DVI4", 6: "DVI4", 7: "LPC", 8: "PCMA", 9: "G722", 10: "L16", 11: "L16", 12: "QCELP",
  13: "CN", 14: "MPA", 15: "G728", 16: "DVI4", 17: "DVI4", 18: "G729", 25: "CelB", 26: "JPEG", 28: "nv", 31: "H261",
  32: "MPV", 33: "MP2T", 34: "H263",
};
const DIRECTIONS = {
  sendrecv: "sends and receives", sendonly: "sends only: the other side is on hold", recvonly: "receives only",
  inactive: "neither sends nor receives",
};
const ATTRIBUTES = {
  rtcp: "where RTCP goes", "rtcp-mux": "RTCP on the port of RTP", crypto: "key of SRTP (SDES)", fingerprint: "certificate of DTLS-SRTP",
  setup: "who opens DTLS", candidate: "candidate of ICE", "ice-ufrag": "name for ICE", "ice-pwd": "password for ICE", mid: "name of this stream",
  group: "streams that go together", ssrc: "source of RTP", fmtp: "parameters of the codec", maxptime: "longest packet, ms", T38FaxVersion: "fax over UDP (T.38)",
};

/** What a table says of a name, which may be that of something every object has. */
const of = (table, name) => (Object.hasOwn(table, name) ? table[name] : undefined);

/** The words for each line of a body, "" where there are none. */
export function explained(lines) {
  const codecs = rtpmaps(lines);
  let section = 0;
  return lines.map((line) => {
    const [, kind, value] = /^([a-z])=(.*)$/.exec(line) ?? [];
    if (kind === "m") section += 1;
    return kind ? words(kind, value, codecs[section] ?? {}) : "";
  });
}

/** For each section (0: before the first m=) the names of its payload types. */
function rtpmaps(lines) {
  const sections = [{}];
  for (const line of lines) {
    if (line.startsWith("m=")) sections.push({});
    const [, type, name] = /^a=rtpmap:\s*(\d+)\s+([^/\s]+)/.exec(line) ?? [];
    if (type) sections.at(-1)[type] = name;
  }
  return sections;
}

function words(kind, value, codecs) {
  const parts = value.trim().split(/\s+/);
  if (kind === "m") return media(parts, codecs);
  if (kind === "c") return parts[2] ? `media to ${parts[2].split("/")[0]}${/^(0\.0\.0\.0|::)$/.test(parts[2]) ? ": on hold" : ""}` : "";
  if (kind === "o") return parts[5] ? `session ${parts[1]}, version ${parts[2]}, of ${parts[5]}` : "";
  if (kind === "b") return `bandwidth, ${value.startsWith("TIAS") ? "bit/s" : "kbit/s"}`;
  return kind === "a" ? attribute(value) : "";
}

function media([type, port, proto, ...formats], codecs) {
  if (!proto) return "";
  const names = formats.map((format) => of(codecs, format) ?? of(STATIC, format) ?? format).join(", ");
  const secure = proto.includes("SAVP") ? ", encrypted" : "";
  return /^0(\/|$)/.test(port) ? `${type} refused: port 0` : `${type} to port ${port}${secure}: ${names}`;
}

function attribute(value) {
  const [name, rest = ""] = value.split(/:(.*)/s);
  if (of(DIRECTIONS, name)) return DIRECTIONS[name];
  const [, type, codec, rate, channels] = /^\s*(\d+)\s+([^/\s]+)\/(\d+)(?:\/(\d+))?/.exec(rest) ?? [];
  if (name === "rtpmap") return type ? `${type} is ${codec}, ${rate} Hz${channels > 1 ? `, ${channels} channels` : ""}` : "";
  if (name === "ptime") return `${rest.trim()} ms of sound a packet`;
  return of(ATTRIBUTES, name) ?? "";
}
