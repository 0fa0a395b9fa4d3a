// What a person likes, kept in this browser. Nothing secret is.
export type Theme = "auto" | "light" | "dark" | "contrast";
export type Language = "auto" | "en" | "de" | "ja" | "zh";
export type Clock = "local" | "utc";

interface Kept {
  theme: Theme;
  language: Language;
  clock: Clock;
  compact: boolean;
  /** What consoles print is read out. */
  readOut: boolean;
  /** After how many minutes without a sign of life one is signed out; 0 never, `bmc` as the BMC does with sessions nobody uses. */
  idle: number | "bmc";
}

const KEY = "u-bmc-prefs";
const DEFAULTS: Kept = { theme: "auto", language: "auto", clock: "local", compact: false, readOut: false, idle: "bmc" };

function read(): Kept {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Kept>) };
  } catch {
    return DEFAULTS;
  }
}

class Prefs {
  #kept = $state<Kept>(read());
  /** Whether the system is dark, which counts where nothing else was chosen. */
  isSystemDark = $state(false);

  constructor() {
    this.#apply();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    this.isSystemDark = dark.matches;
    dark.addEventListener("change", () => (this.isSystemDark = dark.matches));
    addEventListener("storage", (event) => {
      if (event.key === KEY) {
        this.#kept = read();
        this.#apply();
      }
    });
  }

  get theme() {
    return this.#kept.theme;
  }
  get language() {
    return this.#kept.language;
  }
  get clock() {
    return this.#kept.clock;
  }
  get compact() {
    return this.#kept.compact;
  }
  get readOut() {
    return this.#kept.readOut;
  }

  get idle() {
    return this.#kept.idle;
  }

  set(change: Partial<Kept>): void {
    this.#kept = { ...this.#kept, ...change };
    this.#apply();
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#kept));
    } catch {
      // A browser that keeps nothing forgets it with the page.
    }
  }

  #apply(): void {
    const root = document.documentElement;
    if (this.#kept.theme === "auto") delete root.dataset["theme"];
    else root.dataset["theme"] = this.#kept.theme;
    root.classList.toggle("compact", this.#kept.compact);
  }
}

export const prefs = new Prefs();
