// The difference of two messages: which lines are the same, which were changed (with the words that changed), which came
// and went. Pure and bounded: messages of any size take at most MOST steps. Not here: how it looks (compare.js).

const MOST = 4_000_000; // cells of one table; beyond it, what lies between the common beginning and end counts as changed
const WORDS = /[\p{L}\p{N}_.+-]+|\s+|./gsu;

/** Rows {left, right}, each a side or null where there is none. A side is {text, marks}: `marks` are [from, to) of what is
 *  different in a line that was changed, null in a line that is the same or has no counterpart. `kind`: "same", "changed",
 *  "gone" or "new". */
export function difference(left, right) {
  const rows = [];
  for (const block of blocks(left, right, (a, b) => a === b)) {
    if (block.same) rows.push(...block.left.map((text) => ({ kind: "same", left: whole(text), right: whole(text) })));
    else rows.push(...paired(block.left, block.right));
  }
  return rows;
}

const whole = (text) => ({ text, marks: null });

/** What is not the same on both sides: lines of one name (a header, `a=`) are one line that changed. */
function paired(left, right) {
  const rows = [];
  for (const block of blocks(left, right, (a, b) => nameOf(a) === nameOf(b))) {
    if (block.same) rows.push(...block.left.map((text, place) => changed(text, block.right[place])));
    else {
      rows.push(...block.left.map((text) => ({ kind: "gone", left: whole(text), right: null })));
      rows.push(...block.right.map((text) => ({ kind: "new", left: null, right: whole(text) })));
    }
  }
  return rows;
}

/** A header's name, the type of an SDP line with its attribute, else what comes before the first space. */
const nameOf = (line) => (/^(a=[\w-]+|\w=|[\w-]+\s*:|SIP\/|\S+)/.exec(line)?.[0] ?? "").toLowerCase();

function changed(left, right) {
  const marks = [[], []];
  const at = [0, 0];
  for (const block of blocks(left.match(WORDS) ?? [], right.match(WORDS) ?? [], (a, b) => a === b)) {
    for (const [side, words] of [block.left, block.right].entries()) {
      const end = at[side] + words.reduce((sum, word) => sum + word.length, 0);
      if (!block.same && end > at[side]) marks[side].push([at[side], end]);
      at[side] = end;
    }
  }
  return { kind: "changed", left: { text: left, marks: marks[0] }, right: { text: right, marks: marks[1] } };
}

/** Both lists as blocks in their order: {same: true, left, right} of equal length, or {same: false, left, right}. */
export function blocks(left, right, same) {
  let start = 0;
  while (start < left.length && start < right.length && same(left[start], right[start])) start += 1;
  let end = 0;
  const room = Math.min(left.length, right.length) - start;
  while (end < room && same(left.at(-1 - end), right.at(-1 - end))) end += 1;
  const made = [];
  const add = (equal, a, b) => {
    if (!a.length && !b.length) return;
    const last = made.at(-1);
    if (last?.same === equal) {
      last.left.push(...a);
      last.right.push(...b);
    } else made.push({ same: equal, left: [...a], right: [...b] });
  };
  const middle = [left.slice(start, left.length - end), right.slice(start, right.length - end)];
  add(true, left.slice(0, start), right.slice(0, start));
  if (middle[0].length * middle[1].length > MOST) add(false, ...middle);
  else walk(...middle, same, add);
  add(true, left.slice(left.length - end), right.slice(right.length - end));
  return made;
}

/** The longest common subsequence of two lists, told piece by piece. */
function walk(left, right, same, add) {
  const width = right.length + 1;
  const best = new Uint32Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      best[i * width + j] = same(left[i], right[j])
        ? best[(i + 1) * width + j + 1] + 1
        : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (same(left[i], right[j])) add(true, [left[i++]], [right[j++]]);
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) add(false, [left[i++]], []);
    else add(false, [], [right[j++]]);
  }
  add(false, left.slice(i), right.slice(j));
}
