// Looks at the switch, one a second while somebody can see the page. Not here: what is made of them (`main`).

const EVERY = 1000;

/**
 * Call `look()` now and every second: the next second begins with a look, and never before the one before has ended.
 * A hidden tab asks nothing. `look` says for itself what went wrong.
 */
export class Looks {
  #timer = null;
  #looking = null; // the look that is under way
  #look;

  constructor(look) {
    this.#look = look;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#rest() : this.now()));
    if (!document.hidden) this.now();
  }

  /** Look at once. Resolves behind a look that began after this call, so it shows what was changed before. */
  async now() {
    this.#rest();
    await this.#looking;
    this.#rest(); // the look that has just ended has set the clock for the next
    await this.#start();
  }

  #start() {
    const begun = performance.now();
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
      if (!document.hidden) this.#timer = setTimeout(() => this.#start(), Math.max(EVERY - (performance.now() - begun), 50));
    });
    return this.#looking;
  }

  #rest() {
    clearTimeout(this.#timer);
  }
}
