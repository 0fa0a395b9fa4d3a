// What a form does when it is sent: once at a time, and with what went wrong kept for who sees the form.
import { toasts, words } from "./act.svelte";
import { failureOf, type Failure } from "./api";

export class Sending {
  /** It is under way: sent again it would be done twice. */
  isBusy = $state(false);
  failure = $state.raw<Failure | undefined>();
  #form = 0;

  /** Another form is filled in, or this one is refused by the browser: what became of the one before is not told any more. */
  begin(): void {
    this.#form += 1;
    this.failure = undefined;
  }

  /** Answers whether it went well and the form is still the same. */
  async send(what: () => Promise<unknown>): Promise<boolean> {
    if (this.isBusy) return false;
    const form = this.#form;
    this.isBusy = true;
    this.failure = undefined;
    try {
      await what();
    } catch (thrown) {
      const failure = failureOf(thrown);
      if (form === this.#form) this.failure = failure;
      else toasts.add({ kind: "bad", text: words(failure), failure });
      return false;
    } finally {
      this.isBusy = false;
    }
    return form === this.#form;
  }
}
