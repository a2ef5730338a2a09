// What the live screen holds: the last rows, what waits while it is paused, and what was never shown, all of it counted:
// every packet that the switch says it matched is a row, was one (`left`), waits (`held`) or is `unshown`.
// Not here: drawing (`list`), where packets come from (`main`).

/** Rows that are kept, and again so many that may wait while paused. */
export const MOST = 2000;

export class Tail {
  #drawn = 0; // rows below this number have been on the screen's list
  #missed = 0;
  #skipped = 0;
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
    this.left = 0; // were on the list and have made room
    this.#drawn = this.#missed = this.#skipped = 0;
    this.#waiting = [];
  }

  /** One packet of the stream. */
  add(packet) {
    const into = this.paused ? this.#waiting : this.rows;
    into.push(packet);
    if (into.length < 2 * this.most) return; // cut seldom: it moves everything
    if (this.paused) this.#shorten();
    else this.prune(); // nobody draws while the tab is hidden
  }

  /** The switch matched `n` packets more than it could send here. */
  miss(n) {
    this.#missed += n;
  }

  /** Everything that waits becomes rows. */
  resume() {
    this.#shorten();
    this.paused = false;
    this.rows.push(...this.#waiting);
    this.#waiting = [];
  }

  /** The oldest rows above the bound leave. Gives how many. */
  prune() {
    const over = Math.max(this.rows.length - this.most, 0);
    this.rows.splice(0, over);
    const unseen = Math.max(this.first + over - Math.max(this.#drawn, this.first), 0);
    this.#skipped += unseen;
    this.left += over - unseen;
    this.first += over;
    return over;
  }

  /** All rows are on the list now. */
  drawn() {
    this.#drawn = this.first + this.rows.length;
  }

  /** Packets that wait for the end of the pause. */
  get held() {
    return Math.min(this.#waiting.length, this.most);
  }

  /** Packets that matched and were never to be seen here. */
  get unshown() {
    return this.#missed + this.#skipped + this.#waiting.length - this.held;
  }

  #shorten() {
    const over = this.#waiting.length - this.held;
    this.#waiting.splice(0, over);
    this.#skipped += over;
  }
}
