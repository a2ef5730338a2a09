// Captured octets as text that is safe to look at: what would change the direction of writing, or cannot be seen, is spelled
// out, and octets that are no UTF-8 are \xNN, as in the terminal.

// Controls but tab and line ends; marks, embeddings and overrides of direction; invisible spaces; surrogates on their own.
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\p{Surrogate}/gu;
const LINE_ENDS = /[\r\n\t]+/g;

/** `text` with everything spelled out that a person would not see. */
export const visible = (text) => text.replace(UNSEEN, spelled);

/** The same on one line. */
export const oneLine = (text) => visible(text.replace(LINE_ENDS, " "));

function spelled(character) {
  const code = character.charCodeAt(0);
  return code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
}

/** Octets as {text, whole}: `whole` says that all of it is UTF-8. */
export function decoded(octets) {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets), whole: true };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { text: piecewise(octets), whole: false };
  }
}

/** Octets of base64. */
export const unpacked = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Sequences of UTF-8 (RFC 3629) as characters, what is none as \xNN. */
function piecewise(octets) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const pieces = [];
  let start = 0;
  for (let i = 0; i < octets.length; ) {
    const length = sequence(octets, i);
    if (length) {
      i += length;
      continue;
    }
    pieces.push(decoder.decode(octets.subarray(start, i)), `\\x${hex(octets[i], 2)}`);
    start = ++i;
  }
  return pieces.join("") + decoder.decode(octets.subarray(start));
}

/** How many octets the sequence at `i` has; 0: it is none. */
function sequence(octets, i) {
  const first = octets[i];
  if (first < 0x80) return 1;
  const length = first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (!length || i + length > octets.length) return 0;
  const low = { 0xe0: 0xa0, 0xf0: 0x90 }[first] ?? 0x80;
  const high = { 0xed: 0x9f, 0xf4: 0x8f }[first] ?? 0xbf;
  if (octets[i + 1] < low || octets[i + 1] > high) return 0;
  for (let k = 2; k < length; k += 1) if (octets[i + k] >> 6 !== 2) return 0;
  return length;
}

const hex = (number, width) => number.toString(16).padStart(width, "0");
