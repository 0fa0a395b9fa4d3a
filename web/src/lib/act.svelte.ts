// Actions: each says what came of it, good or bad, in words, with the number to hand to support.
import { Code } from "@connectrpc/connect";
import { failureOf, type Failure } from "./api";
import { i18n, t, type Key } from "./i18n.svelte";

export interface Toast {
  id: number;
  kind: "ok" | "bad";
  text: string;
  failure?: Failure;
}

/** So many are shown of what went well, and kept of what went wrong. */
const OK_MOST = 3;
const BAD_MOST = 20;

class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  add(toast: Omit<Toast, "id">): void {
    const id = this.#next++;
    const all = [...this.list, { ...toast, id }];
    // What went wrong stays until it has been read: what went well makes room.
    const of = (kind: Toast["kind"], most: number) => all.filter((one) => one.kind === kind).slice(-most);
    const kept = new Set([...of("ok", OK_MOST), ...of("bad", BAD_MOST)]);
    this.list = all.filter((one) => kept.has(one));
    if (toast.kind === "ok") setTimeout(() => this.drop(id), 5000);
  }

  /** What one person was told is no other's business. */
  clear(): void {
    this.list = [];
  }

  drop(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();

/** Does something and tells what came of it. Answers whether it went well. */
export async function act(what: () => Promise<unknown>, done: Key, values?: Record<string, string | number>): Promise<boolean> {
  try {
    await what();
    toasts.add({ kind: "ok", text: t(done, values) });
    return true;
  } catch (thrown) {
    const failure = failureOf(thrown);
    toasts.add({ kind: "bad", text: words(failure), failure });
    return false;
  }
}

/** What a failure means for who sees it: by its reason, else by its code; and whether it is known what was done. */
export function words(failure: Failure): string {
  if (failure.reason) {
    const known = i18n.dynamic(`reason.${failure.reason}`, "");
    if (known) return known;
  }
  const said = i18n.dynamic(`code.${Code[failure.code]}`, failure.message);
  return failure.isOpen ? `${said} ${t("action.open")}` : said;
}

/** Why a password is refused, as the BMC says it; `messages.mjs` holds it to the code that does. */
const WEAK: [said: string, key: Key][] = [
  ["the password is shorter than {min} characters", "password.weakShort"],
  ["the password is longer than {max} characters", "password.weakLong"],
  ["the password contains a control character", "password.weakControl"],
  ["the password is made of the user name", "password.weakName"],
  ["the password is a repetition or a sequence", "password.weakTrivial"],
  ["the password is a well-known one", "password.weakKnown"],
  ["the password needs at least {min} of: lower case, upper case, digits, other characters", "password.weakClasses"],
  ["the password is the one in use", "password.weakSame"],
];

/** What the BMC says of a failure as a whole beside its words, in the reader's language where it has it; empty where it is no more than these. */
function detail(failure: Failure): string {
  for (const [said, key] of failure.reason === "WEAK_PASSWORD" ? WEAK : []) {
    const [head = "", tail] = said.split(/\{\w+\}/);
    if (tail === undefined ? failure.message === said : failure.message.startsWith(head) && failure.message.endsWith(tail)) {
      return t(key, tail === undefined ? {} : { n: failure.message.slice(head.length, -tail.length) });
    }
  }
  return failure.message === words(failure) ? "" : failure.message;
}

/** What the BMC says of a failure beside its words, each thing once: which fields are wrong and why, else what it says of the whole. Why a password is refused is that, whichever field holds it. */
export function details(failure: Failure): string[] {
  if (failure.reason === "WEAK_PASSWORD" || !failure.fields.length) return [detail(failure)].filter(Boolean);
  const told = failure.fields.map(({ field, description }) => (field ? `${field}: ${description}` : description));
  return [...new Set(told)];
}

/** A question before something that cannot be taken back. */
export interface Question {
  title: string;
  text: string;
  confirm: string;
  /** It harms whoever does not expect it. */
  isDangerous: boolean;
  /** To be typed in first. */
  typed?: string;
  then: () => void;
}

class Asking {
  question = $state.raw<Question | undefined>();
  ask(question: Question): void {
    this.question = question;
  }
}

export const asking = new Asking();
