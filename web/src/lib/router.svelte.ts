// Which page is shown: the path in the address bar, so that every page can be linked to, reloaded and gone back to.
import type { Component } from "svelte";
import type { Key } from "./i18n.svelte";

export interface Page {
  path: string;
  title: Key;
  /** Some pages take the id in the path. */
  load: () => Promise<{ default: Component<any> }>;
}

export const PAGES = {
  overview: { path: "/", title: "nav.overview", load: () => import("../pages/Overview.svelte") },
  power: { path: "/power", title: "nav.power", load: () => import("../pages/Power.svelte") },
  console: { path: "/console", title: "nav.console", load: () => import("../pages/Console.svelte") },
  consoleOf: { path: "/console/:id", title: "nav.console", load: () => import("../pages/Console.svelte") },
  kvm: { path: "/kvm", title: "nav.kvm", load: () => import("../pages/Kvm.svelte") },
  kvmOf: { path: "/kvm/:id", title: "nav.kvm", load: () => import("../pages/Kvm.svelte") },
  media: { path: "/media", title: "nav.media", load: () => import("../pages/Media.svelte") },
  mediaOf: { path: "/media/:id", title: "nav.media", load: () => import("../pages/Media.svelte") },
  sensors: { path: "/sensors", title: "nav.sensors", load: () => import("../pages/Sensors.svelte") },
  sensor: { path: "/sensors/:id", title: "nav.sensors", load: () => import("../pages/Sensor.svelte") },
  thermal: { path: "/thermal", title: "nav.thermal", load: () => import("../pages/Thermal.svelte") },
  leds: { path: "/leds", title: "nav.leds", load: () => import("../pages/Leds.svelte") },
  inventory: { path: "/inventory", title: "nav.inventory", load: () => import("../pages/Inventory.svelte") },
  asset: { path: "/inventory/:id", title: "nav.inventory", load: () => import("../pages/Inventory.svelte") },
  events: { path: "/events", title: "nav.events", load: () => import("../pages/Events.svelte") },
  users: { path: "/users", title: "nav.users", load: () => import("../pages/Users.svelte") },
  sessions: { path: "/sessions", title: "nav.sessions", load: () => import("../pages/Sessions.svelte") },
  roles: { path: "/roles", title: "nav.roles", load: () => import("../pages/Roles.svelte") },
  controller: { path: "/controller", title: "nav.controller", load: () => import("../pages/Controller.svelte") },
  network: { path: "/network", title: "nav.network", load: () => import("../pages/Network.svelte") },
  time: { path: "/time", title: "nav.time", load: () => import("../pages/Time.svelte") },
  subscriptions: { path: "/subscriptions", title: "nav.subscriptions", load: () => import("../pages/Subscriptions.svelte") },
  certificate: { path: "/certificate", title: "nav.certificate", load: () => import("../pages/Certificate.svelte") },
  services: { path: "/services", title: "nav.services", load: () => import("../pages/Services.svelte") },
  service: { path: "/services/:id", title: "nav.services", load: () => import("../pages/Services.svelte") },
  api: { path: "/api-explorer", title: "nav.api", load: () => import("../pages/Api.svelte") },
  settings: { path: "/settings", title: "nav.settings", load: () => import("../pages/Settings.svelte") },
  about: { path: "/about", title: "nav.about", load: () => import("../pages/About.svelte") },
} satisfies Record<string, Page>;

export type PageName = keyof typeof PAGES;

export interface Place {
  /** `undefined`: there is no such page. */
  page: PageName | undefined;
  id: string | undefined;
}

/** Which page a path leads to. */
export function placeOf(path: string): Place {
  const wanted = path.replace(/\/+$/, "") || "/";
  for (const [name, { path: pattern }] of Object.entries(PAGES)) {
    if (pattern === wanted) return { page: name as PageName, id: undefined };
    const base = pattern.endsWith("/:id") ? pattern.slice(0, -3) : undefined;
    if (base && wanted.startsWith(base) && !wanted.slice(base.length).includes("/")) {
      try {
        return { page: name as PageName, id: decodeURIComponent(wanted.slice(base.length)) };
      } catch {
        return { page: undefined, id: undefined };
      }
    }
  }
  return { page: undefined, id: undefined };
}

class Router {
  path = $state(location.pathname);
  query = $state(location.search);
  place = $derived(placeOf(this.path));

  constructor() {
    addEventListener("popstate", () => this.#read());
  }

  /** Goes to a page; `replace` leaves no step in the history, for filters. */
  go(to: string, replace = false): void {
    if (to === this.path + this.query) return;
    if (replace) history.replaceState(null, "", to);
    else history.pushState(null, "", to);
    this.#read();
    if (!replace) scrollTo(0, 0);
  }

  param(name: string): string {
    return new URLSearchParams(this.query).get(name) ?? "";
  }

  /** Puts a filter into the address; an empty one is left out. */
  setParam(name: string, value: string): void {
    const query = new URLSearchParams(this.query);
    if (value) query.set(name, value);
    else query.delete(name);
    const text = query.toString();
    this.go(this.path + (text ? `?${text}` : ""), true);
  }

  #read(): void {
    this.path = location.pathname;
    this.query = location.search;
  }
}

export const router = new Router();

/** Links of the page are followed without loading it anew, unless the browser is asked for a new tab. */
export function followLinks(event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element).closest("a");
  if (!link || link.origin !== location.origin || link.target || link.hasAttribute("download")) return;
  if (placeOf(link.pathname).page === undefined) return;
  event.preventDefault();
  router.go(link.pathname + link.search);
}
