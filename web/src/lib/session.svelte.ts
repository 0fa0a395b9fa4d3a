// Who is signed in, and what they may do. The contract says which privilege a method needs; the page offers what the account has.
import { getOption, type DescMethod } from "@bufbuild/protobuf";
import { Privilege, privilege as privilegeOption } from "../gen/schema/v1alpha1/options_pb";
import { toasts, words } from "./act.svelte";
import * as api from "./api";

/** Where signing in stands. */
export type Phase = "unknown" | "out" | "change-password" | "in" | "unreachable";

class Session {
  phase = $state<Phase>("unknown");
  who = $state.raw<api.Principal | undefined>();
  /** Signed out by the BMC and not by the person in front of it. */
  wasEnded = $state(false);
  /** Signed out as nobody was there. */
  wasIdle = $state(false);
  #channel = new BroadcastChannel("u-bmc-session");

  constructor() {
    api.onSessionEnd(() => this.#ended());
    // Other tabs of this BMC share the cookie.
    this.#channel.onmessage = () => void this.refresh();
  }

  /** Asks the BMC who this is. */
  async refresh(): Promise<void> {
    try {
      const who = await api.whoAmI();
      if (who) this.#is(who);
      else if (this.phase === "in" || this.phase === "change-password") this.#ended();
      else this.#isNobody();
    } catch {
      if (this.phase === "unknown") this.phase = "unreachable";
    }
  }

  /** Signs in. Throws a {@link api.Failure}. */
  async signIn(username: string, password: string): Promise<void> {
    await api.signIn(username, password);
    const who = await api.whoAmI();
    if (who) this.#is(who);
    this.wasEnded = this.wasIdle = false;
    this.#channel.postMessage("in");
  }

  /** Ends the session; `isIdle` when nobody was there for too long. */
  async signOut(isIdle = false): Promise<void> {
    try {
      await api.signOut();
    } catch (thrown) {
      const failure = api.failureOf(thrown);
      // Nobody is there to read it.
      if (!isIdle) toasts.add({ kind: "bad", text: words(failure), failure });
      // The BMC says whether the session still counts; where it is out of reach, the person is still signed in.
      return this.refresh();
    }
    this.#isNobody();
    this.wasEnded = false;
    this.wasIdle = isIdle;
    this.#channel.postMessage("out");
  }

  /** Whether the account may call a method. The BMC decides anyway; this is so that nobody is offered what is refused. */
  may(method: DescMethod): boolean {
    return this.has(getOption(method, privilegeOption));
  }

  has(privilege: Privilege): boolean {
    if (privilege === Privilege.NONE) return true;
    return this.who?.privileges.includes(`PRIVILEGE_${Privilege[privilege]}`) ?? false;
  }

  #is(who: api.Principal): void {
    this.who = who;
    this.phase = who.passwordChangeRequired ? "change-password" : "in";
  }

  #isNobody(): void {
    this.who = undefined;
    this.phase = "out";
  }

  #ended(): void {
    if (this.phase !== "in" && this.phase !== "change-password") return;
    this.wasEnded = true;
    this.#isNobody();
  }
}

export const session = new Session();
