// Numbers, units and times, as the reader's language and zone have them.
import { timestampDate, type Duration, type Timestamp } from "@bufbuild/protobuf/wkt";
import { clock } from "./clock.svelte";
import { i18n, t } from "./i18n.svelte";
import { prefs } from "./prefs.svelte";
import { SensorUnit } from "../gen/schema/v1alpha1/sensor_pb";

const zone = () => (prefs.clock === "utc" ? { timeZone: "UTC" } : {});

export function date(at: Date | Timestamp | undefined): Date | undefined {
  return at === undefined || at instanceof Date ? at : timestampDate(at);
}

/** Date and time to the second, and the zone they are in. */
export function when(at: Date | Timestamp | undefined): string {
  const shown = date(at);
  if (!shown) return "–";
  return new Intl.DateTimeFormat(i18n.locale, { dateStyle: "medium", timeStyle: "long", ...zone() }).format(shown);
}

/** The zone that times are shown in. */
export function zoneName(): string {
  const parts = new Intl.DateTimeFormat(i18n.locale, { timeZoneName: "short", ...zone() }).formatToParts(clock.quarter * 900_000);
  return parts.find(({ type }) => type === "timeZoneName")?.value ?? "";
}

/** The time alone when it is today's. */
export function whenShort(at: Date | Timestamp | undefined): string {
  const shown = date(at);
  if (!shown) return "–";
  const day = (d: Date) => new Intl.DateTimeFormat("en", { dateStyle: "short", ...zone() }).format(d);
  const today = day(shown) === day(new Date(clock.ahead + clock.quarter * 900_000));
  return new Intl.DateTimeFormat(i18n.locale, {
    ...(today ? {} : { month: "short", day: "numeric" }),
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    ...zone(),
  }).format(shown);
}

export function seconds(duration: Duration | undefined): number | undefined {
  return duration && Number(duration.seconds) + duration.nanos / 1e9;
}

/** A length of time in its two largest parts. */
export function span(total: number | undefined): string {
  if (total === undefined || !Number.isFinite(total)) return "–";
  const s = Math.max(0, Math.round(total));
  const parts: [number, Intl.RelativeTimeFormatUnit][] = [
    [Math.floor(s / 86400), "day"],
    [Math.floor((s % 86400) / 3600), "hour"],
    [Math.floor((s % 3600) / 60), "minute"],
    [s % 60, "second"],
  ];
  const first = parts.findIndex(([n]) => n > 0);
  const shown = first < 0 ? [parts[3]!] : parts.slice(first, first + 2).filter(([n]) => n > 0);
  return shown
    .map(([n, unit]) =>
      new Intl.NumberFormat(i18n.locale, { style: "unit", unit, unitDisplay: "narrow" }).format(n),
    )
    .join(" ");
}

/** How long ago, in words. */
export function ago(at: Date | Timestamp | undefined, now: number): string {
  const shown = date(at);
  if (!shown) return "–";
  const s = Math.round((now - shown.getTime()) / 1000);
  if (s < 2) return t("time.now");
  return t("time.ago", { span: span(s) });
}

export function number(value: number | bigint, digits = 0): string {
  return new Intl.NumberFormat(i18n.locale, { maximumFractionDigits: digits }).format(value);
}

/** Bytes, in powers of 1024. */
export function bytes(value: bigint | number): string {
  let n = Number(value);
  let i = 0;
  while (n >= 1024 && i < 4) {
    n /= 1024;
    i += 1;
  }
  return `${number(n, n < 10 && i > 0 ? 1 : 0)} ${["B", "KiB", "MiB", "GiB", "TiB"][i]}`;
}

const UNITS: Partial<Record<SensorUnit, string>> = {
  [SensorUnit.CELSIUS]: "°C",
  [SensorUnit.FAHRENHEIT]: "°F",
  [SensorUnit.KELVIN]: "K",
  [SensorUnit.VOLTS]: "V",
  [SensorUnit.AMPS]: "A",
  [SensorUnit.WATTS]: "W",
  [SensorUnit.JOULES]: "J",
  [SensorUnit.PASCALS]: "Pa",
  [SensorUnit.PERCENT]: "%",
  [SensorUnit.RPM]: "rpm",
  [SensorUnit.HERTZ]: "Hz",
  [SensorUnit.METERS]: "m",
  [SensorUnit.LITERS_PER_MINUTE]: "l/min",
};
export const unitOf = (unit: SensorUnit | undefined) => UNITS[unit ?? SensorUnit.UNSPECIFIED] ?? "";

/** How many digits say something, for a sensor that tells changes of `resolution` apart. */
export function digits(resolution: number): number {
  if (!(resolution > 0)) return 2;
  return Math.min(3, Math.max(0, Math.ceil(-Math.log10(resolution))));
}

/** What nobody sees, but what turns or hides what stands beside it: control characters, and those that set the direction of what is written. */
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
/** A text from outside, with what is hidden in it made visible. It stands in a `<bdi>`, so that its direction is its own alone. */
export function seen(text: string | undefined): string {
  return (text ?? "").replace(HIDDEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

const plain = new Map<string, Intl.NumberFormat>();
/** A sensor's value without its unit. Called for hundreds of values a second, so what formats is kept. */
export function reading(value: number, places: number): string {
  const key = `${i18n.locale} ${places}`;
  let format = plain.get(key);
  if (!format) {
    format = new Intl.NumberFormat(i18n.locale, { minimumFractionDigits: places, maximumFractionDigits: places });
    plain.set(key, format);
  }
  return format.format(value);
}

/** An address with its port. */
export const place = (address: string, port: number): string => `${address.includes(":") ? `[${address}]` : address}:${port}`;
