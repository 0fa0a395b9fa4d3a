// Who is signed in, and what they may do. The contract says which privilege a method needs; the page offers what the account has.
import { getOption, type DescMethod } from "@bufbuild/protobuf";
import { account_type, AccountType, Privilege, privilege as privilegeOption } from "../gen/schema/v1alpha1/options_pb";
import { Code } from "@connectrpc/connect";
import { asking, toasts, words } from "./act.svelte";
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
  /** Signed out here, while the BMC could not end the session. */
  wasLeftOpen = $state(false);
  /** Who was signed in last in this page. */
  #last = "";
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
    if (!who) throw { code: Code.FailedPrecondition, reason: "COOKIE_NOT_KEPT", message: "", metadata: {}, fields: [], requestId: "" } satisfies api.Failure;
    this.#channel.postMessage("in");
    this.#is(who);
    this.wasEnded = this.wasIdle = this.wasLeftOpen = false;
  }

  /** Ends the session; `isIdle` when nobody was there for too long. */
  async signOut(isIdle = false): Promise<void> {
    try {
      await api.signOut();
    } catch (thrown) {
      const failure = api.failureOf(thrown);
      // Who answers has taken the cookie back in any case; where nobody does, the person is still signed in.
      await this.refresh();
      if (this.phase === "out") {
        this.wasEnded = false;
        this.wasLeftOpen = true;
        this.#channel.postMessage("out");
        return;
      }
      // When nobody was there, nobody is there to read it.
      if (!isIdle) toasts.add({ kind: "bad", text: words(failure), failure });
      return;
    }
    this.#isNobody();
    this.wasEnded = this.wasLeftOpen = false;
    this.wasIdle = isIdle;
    this.#channel.postMessage("out");
  }

  /** Whether the account may call a method. The BMC decides anyway; this is so that nobody is offered what is refused. */
  may(method: DescMethod): boolean {
    const type = getOption(method, account_type);
    // What has no type of its own is for every account that is signed in here.
    const isFor = !type || this.who?.accountTypes.includes(`ACCOUNT_TYPE_${AccountType[type]}`);
    return Boolean(isFor) && this.has(getOption(method, privilegeOption));
  }

  has(privilege: Privilege): boolean {
    if (privilege === Privilege.NONE) return true;
    return this.who?.privileges.includes(`PRIVILEGE_${Privilege[privilege]}`) ?? false;
  }

  #is(who: api.Principal): void {
    // What was read for somebody else is not to be seen, nor in another tab than the one that they signed in at.
    if (this.#last && this.#last !== who.userId) {
      this.#isNobody();
      this.phase = "unknown";
      location.reload();
      return;
    }
    this.who = who;
    this.#last = who.userId;
    this.phase = who.passwordChangeRequired ? "change-password" : "in";
  }

  #isNobody(): void {
    this.who = undefined;
    this.phase = "out";
    toasts.clear();
    asking.question = undefined;
  }

  #ended(): void {
    if (this.phase !== "in" && this.phase !== "change-password") return;
    this.wasEnded = true;
    this.wasLeftOpen = false;
    this.#isNobody();
  }
}

export const session = new Session();
