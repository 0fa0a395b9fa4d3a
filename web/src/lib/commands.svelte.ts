// Everything that can be reached from the command palette and by keys.
import { ChassisService, ChassisAction } from "../gen/schema/v1alpha1/chassis_pb";
import { HostAction, HostService, HostStatus } from "../gen/schema/v1alpha1/host_pb";
import { act } from "./act.svelte";
import { chassis } from "./api";
import { label, t } from "./i18n.svelte";
import { machine } from "./machine.svelte";
import { NAV } from "./nav";
import { askHost, HOST_ACTIONS, isOffered } from "./power";
import { prefs } from "./prefs.svelte";
import { readings } from "./readings.svelte";
import { PAGES, router } from "./router.svelte";
import { session } from "./session.svelte";

export interface Command {
  id: string;
  /** What it is about: pages, power, sensors. */
  group: string;
  title: string;
  /** Keys, one after the other. */
  keys?: string;
  run: () => void;
}

/** Switches the identify light of a chassis. */
export function identify(name: string, isOn: boolean): void {
  void act(
    () => chassis.changeChassisState({ chassisName: name, action: isOn ? ChassisAction.IDENTIFY_ON : ChassisAction.IDENTIFY_OFF }),
    isOn ? "identify.isOn" : "identify.isOff",
  );
}

export function commands(): Command[] {
  const list: Command[] = [];
  for (const group of NAV) {
    for (const { page, keys, needs } of group.pages) {
      if (needs && !session.may(needs)) continue;
      const { path, title } = PAGES[page];
      list.push({ id: `page ${page}`, group: t("palette.pages"), title: t(title), keys, run: () => router.go(path) });
    }
  }
  if (session.may(HostService.method.changeHostState)) {
    for (const host of machine.hosts.data ?? []) {
      for (const action of HOST_ACTIONS) {
        if (!isOffered(action, host.status ?? HostStatus.UNSPECIFIED)) continue;
        const title = `${host.name}: ${label("hostAction", HostAction, action)}`;
        list.push({ id: `host ${host.name} ${action}`, group: t("nav.power"), title, run: () => askHost(host.name, action) });
      }
    }
  }
  if (session.may(ChassisService.method.changeChassisState)) {
    for (const box of machine.chassis.data ?? []) {
      const title = `${box.name}: ${t(box.identify ? "identify.off" : "identify.on")}`;
      list.push({ id: `identify ${box.name}`, group: t("nav.leds"), title, run: () => identify(box.name, !box.identify) });
    }
  }
  for (const sensor of readings.list) {
    const title = `${sensor.info.name} (${sensor.id})`;
    list.push({ id: `sensor ${sensor.id}`, group: t("nav.sensors"), title, run: () => router.go(`/sensors/${encodeURIComponent(sensor.id)}`) });
  }
  for (const theme of ["auto", "light", "dark", "contrast"] as const) {
    list.push({ id: `theme ${theme}`, group: t("settings.theme"), title: `${t("settings.theme")}: ${t(`settings.${theme}`)}`, run: () => prefs.set({ theme }) });
  }
  list.push({ id: "sign out", group: t("palette.session"), title: t("nav.signout"), run: () => void session.signOut() });
  return list;
}

/** Those whose title has all the words, the ones that begin with the first of them first. */
export function matching(list: Command[], text: string): Command[] {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!wanted.length) return list;
  const found = list.filter(({ title, group }) => {
    const all = `${group} ${title}`.toLowerCase();
    return wanted.every((word) => all.includes(word));
  });
  const begins = (command: Command) => (command.title.toLowerCase().startsWith(wanted[0]!) ? 0 : 1);
  return found.sort((a, b) => begins(a) - begins(b));
}
