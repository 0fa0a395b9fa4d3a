// Words in the reader's language. English is the measure: the others have its type, so that a missing key does not build.
import { prefs, type Language } from "./prefs.svelte";
import type en from "./messages/en";

export type Key = keyof typeof en;
export type Messages = Record<Key, string>;
export type Locale = Exclude<Language, "auto">;

export const LOCALES: { id: Locale; name: string }[] = [
  { id: "en", name: "English" },
  { id: "de", name: "Deutsch" },
  { id: "ja", name: "日本語" },
  { id: "zh", name: "简体中文" },
];

const load: Record<Locale, () => Promise<{ default: Messages }>> = {
  en: () => import("./messages/en"),
  de: () => import("./messages/de"),
  ja: () => import("./messages/ja"),
  zh: () => import("./messages/zh"),
};

function preferred(): Locale {
  for (const tag of navigator.languages) {
    const base = tag.slice(0, 2).toLowerCase();
    if (base in load) return base as Locale;
  }
  return "en";
}

class I18n {
  locale = $state<Locale>("en");
  #messages = $state.raw<Partial<Messages>>({});
  #turn = 0;

  /** Loads the language that is wanted. Where it cannot be loaded the one before stays, and this throws. */
  async use(language: Language): Promise<void> {
    const locale = language === "auto" ? preferred() : language;
    const turn = ++this.#turn;
    const { default: messages } = await load[locale]();
    // The last choice counts, whichever comes first.
    if (turn !== this.#turn) return;
    this.#messages = messages;
    this.locale = locale;
    document.documentElement.lang = locale === "zh" ? "zh-Hans" : locale;
  }

  /** The words of `key`, with `{name}` filled in. */
  t(key: Key, values?: Record<string, string | number>): string {
    const words = this.#messages[key] ?? key;
    return values ? words.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? "")) : words;
  }

  /** The words of a key that is put together, such as that of an enum's value; `otherwise` where there are none. */
  dynamic(key: string, otherwise: string): string {
    return this.#messages[key as Key] ?? otherwise;
  }
}

export const i18n = new I18n();
export const t = (key: Key, values?: Record<string, string | number>) => i18n.t(key, values);

/** The words for a value of an enum: `hostStatus.ON`. What has none, as it is newer than this page, is shown by its name. */
export function label(prefix: string, names: Record<number, string>, value: number | undefined): string {
  const name = names[value ?? 0] ?? String(value);
  return i18n.dynamic(`${prefix}.${name}`, name);
}

/** Sees to it that the language follows the preference. */
export async function startI18n(): Promise<void> {
  await i18n.use(prefs.language);
}
