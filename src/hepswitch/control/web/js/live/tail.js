// What the live screen holds: the last rows, what waits while it is paused, and what was never shown, all of it counted:
// every packet that the switch says it matched was shown, is `held`, or is `unshown`.
// Not here: drawing (`list`), where packets come from (`live`).

/** Rows that are kept, and again so many that may wait while paused. */
export const MOST = 2000;

export class Tail {
  #taken = 0;
  #missed = 0;
  #skipped = 0;
  #drawn = 0; // rows below this number have been on the list
  #waiting = [];

  constructor(most = MOST) {
    this.most = most;
    this.paused = false;
    this.clear();
  }

  /** Begin anew; a pause goes on. */
  clear() {
    this.rows = [];
    this.first = 0; // the number of rows[0]: a row keeps its number until the next clear
    this.#taken = this.#missed = this.#skipped = this.#drawn = 0;
    this.#waiting = [];
  }

  /** One packet of the stream. */
  add(packet) {
    this.#taken += 1;
    this.#push(packet);
  }

  /** Words between the packets, as where the stream was broken: `{gap: words}`. They are in no figure. */
  note(words) {
    this.#push({ gap: words });
  }

  /** The switch matched `n` packets more than it could send here. */
  miss(n) {
    this.#missed += n;
  }

  /** Everything that waits becomes rows. */
  resume() {
    this.#skip(this.#waiting, this.#waiting.length - this.most);
    this.paused = false;
    this.rows.push(...this.#waiting);
    this.#waiting = [];
  }

  /** The oldest rows above the bound leave, those that nobody has drawn as skipped. */
  prune() {
    const over = this.rows.length - this.most;
    if (over <= 0) return;
    const seen = Math.min(Math.max(this.#drawn - this.first, 0), over);
    this.rows.splice(0, seen);
    this.#skip(this.rows, over - seen);
    this.first += over;
  }

  /** All rows are on the list now. */
  drawn() {
    this.#drawn = this.first + this.rows.length;
  }

  /** Packets that wait for the end of the pause. */
  get held() {
    return packets(this.#waiting);
  }

  /** Packets that matched and were never to be seen here. */
  get unshown() {
    return this.#missed + this.#skipped;
  }

  /** Packets that are rows, or were. */
  get shown() {
    return this.#taken - this.#skipped - this.held;
  }

  #push(row) {
    const into = this.paused ? this.#waiting : this.rows;
    into.push(row);
    if (this.paused) this.#skip(into, into.length - this.most);
    else if (into.length > 2 * this.most) this.prune(); // nobody draws while the tab is hidden
  }

  /** The first `n` of `rows` go unseen. */
  #skip(rows, n) {
    if (n > 0) this.#skipped += packets(rows.splice(0, n));
  }
}

const packets = (rows) => rows.reduce((sum, row) => sum + (row.gap === undefined), 0);
