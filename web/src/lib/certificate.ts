// How long a certificate is good for, and when somebody has to care.
import type { Certificate } from "../gen/schema/v1alpha1/certificate_pb";
import type { Tone } from "./badge";
import { date } from "./format";
import type { Key } from "./i18n.svelte";

/** Authorities need a while: sooner than this before its end somebody is told, seconds. */
const SOON = 30 * 86400;

export interface Validity {
  tone: Tone;
  key: Key;
  /** Until it ends, or begins; seconds. */
  left: number;
}

/** Whether it is good at `now`, ms since 1970. */
export function validity(certificate: Certificate, now: number): Validity {
  const left = ((date(certificate.notAfter)?.getTime() ?? now) - now) / 1000;
  const until = ((date(certificate.notBefore)?.getTime() ?? now) - now) / 1000;
  if (left <= 0) return { tone: "crit", key: "certificate.expired", left: -left };
  if (until > 0) return { tone: "crit", key: "certificate.notYet", left: until };
  return { tone: left < SOON ? "warn" : "ok", key: "certificate.left", left };
}
