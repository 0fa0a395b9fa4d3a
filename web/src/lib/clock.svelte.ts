// One clock for the page, so that ages count on without a timer each. What the BMC stamps is compared with the BMC's own clock, as far as this
// browser can tell: one of both may be set wrong.

/** The BMC tells the time in whole seconds: a smaller difference says nothing, ms. */
const SAYS_NOTHING = 1500;

class Clock {
  /** This browser's, ms since 1970. */
  now = $state(Date.now());
  /** How far the BMC's is ahead of it, ms. */
  ahead = $state(0);
  /** Counts quarters of an hour: what depends on which day it is looks at this. */
  quarter = $derived(Math.floor(this.now / 900_000));

  constructor() {
    setInterval(() => {
      if (!document.hidden) this.now = Date.now();
    }, 1000);
    document.addEventListener("visibilitychange", () => (this.now = Date.now()));
  }

  /** The BMC's, ms since 1970. */
  get bmc(): number {
    return this.now + this.ahead;
  }

  /** What an answer says in its `Date`, to what was asked at `asked` by this browser's clock. */
  told(date: string | null, asked: number): void {
    const answered = Date.now();
    const ahead = Date.parse(date ?? "") + 500 - (asked + answered) / 2;
    const unsure = SAYS_NOTHING + (answered - asked) / 2;
    // NaN is in no order.
    if (Math.abs(ahead - this.ahead) > unsure) this.ahead = Math.abs(ahead) > unsure ? ahead : 0;
  }
}
export const clock = new Clock();
