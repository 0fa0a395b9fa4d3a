// Parts of the pages that are loaded when they are needed.
/** Longest that a part of the pages may be on its way before that is told, ms: a connection may be lost without a word. */
const PATIENCE = 10_000;

/** Loads a part of the pages. `failed` is called when it is not here in time or cannot be had, `come` when it is here, be it later. */
export function load<T>(part: Promise<T>, come: (part: T) => void, failed: () => void): void {
  const slow = setTimeout(failed, PATIENCE);
  void part.then(come, failed).finally(() => clearTimeout(slow));
}
