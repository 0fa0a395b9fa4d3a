// Everything that can be reached from the command palette and by keys.
import type { DescMethod } from "@bufbuild/protobuf";
import { CertificateService } from "../gen/schema/v1alpha1/certificate_pb";
import { ChassisService, ChassisAction } from "../gen/schema/v1alpha1/chassis_pb";
import { HostAction, HostService, HostStatus } from "../gen/schema/v1alpha1/host_pb";
import { IpmiService } from "../gen/schema/v1alpha1/ipmi_pb";
import { LedService } from "../gen/schema/v1alpha1/led_pb";
import { ManagementControllerAction, ManagementControllerService } from "../gen/schema/v1alpha1/managementcontroller_pb";
import { ThermalProfile, ThermalService } from "../gen/schema/v1alpha1/thermal_pb";
import { UserService } from "../gen/schema/v1alpha1/user_pb";
import { act } from "./act.svelte";
import { chassis, leds, thermal } from "./api";
import { label, LOCALES, t } from "./i18n.svelte";
import { live } from "./live.svelte";
import { machine } from "./machine.svelte";
import { NAV } from "./nav";
import { askBmc, askChassis, askHost, BMC_ACTIONS, CHASSIS_ACTIONS, HOST_ACTIONS, isOffered } from "./power";
import { prefs } from "./prefs.svelte";
import { readings } from "./readings.svelte";
import type { Resource } from "./resource.svelte";
import { PAGES, router } from "./router.svelte";
import { session } from "./session.svelte";

export const PROFILES = [ThermalProfile.QUIET, ThermalProfile.BALANCED, ThermalProfile.PERFORMANCE] as const;

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
  // What would act is not offered while nobody hears of it, nor where it is not known how what it acts on stands.
  const may = (method: DescMethod, on?: Resource<unknown>) => !live.isLost && !on?.isStale && session.may(method);
  for (const group of NAV) {
    for (const { page, keys, needs } of group.pages) {
      if (needs && !session.may(needs)) continue;
      const { path, title } = PAGES[page];
      list.push({ id: `page ${page}`, group: t("palette.pages"), title: t(title), keys, run: () => router.go(path) });
    }
  }
  if (may(HostService.method.changeHostState, machine.hosts)) {
    for (const host of machine.hosts.data ?? []) {
      for (const action of HOST_ACTIONS) {
        if (!isOffered(action, host.status ?? HostStatus.UNSPECIFIED)) continue;
        const title = `${host.name}: ${label("hostAction", HostAction, action)}`;
        list.push({ id: `host ${host.name} ${action}`, group: t("nav.power"), title, run: () => askHost(host.name, action) });
      }
    }
  }
  if (may(HostService.method.updateHost, machine.hosts)) {
    for (const host of machine.hosts.data ?? []) {
      if (!host.bootOverride) continue;
      list.push({ id: `boot ${host.name}`, group: t("nav.power"), title: `${host.name}: ${t("boot.change")}`, run: () => router.go(`/power?boot=${encodeURIComponent(host.name)}`) });
    }
  }
  if (may(ChassisService.method.changeChassisState, machine.chassis)) {
    for (const box of machine.chassis.data ?? []) {
      for (const action of CHASSIS_ACTIONS) {
        const title = `${box.name}: ${label("chassisAction", ChassisAction, action)}`;
        list.push({ id: `chassis ${box.name} ${action}`, group: t("nav.power"), title, run: () => askChassis(box.name, action) });
      }
      const title = `${box.name}: ${t(box.identify ? "identify.off" : "identify.on")}`;
      list.push({ id: `identify ${box.name}`, group: t("nav.leds"), title, run: () => identify(box.name, !box.identify) });
    }
  }
  if (may(ThermalService.method.setThermalProfile)) {
    for (const profile of PROFILES) {
      const name = label("profile", ThermalProfile, profile);
      const title = `${t("thermal.profile")}: ${name}`;
      list.push({ id: `profile ${profile}`, group: t("nav.thermal"), title, run: () => void act(() => thermal.setThermalProfile({ profile }), "thermal.profileSet", { profile: name }) });
    }
  }
  if (may(LedService.method.testLeds)) {
    list.push({ id: "lamps", group: t("nav.leds"), title: t("leds.test"), run: () => void act(() => leds.testLeds({ duration: { seconds: 10n, nanos: 0 } }), "leds.testOn") });
  }
  list.push({ id: "unresolved", group: t("nav.events"), title: t("events.open"), run: () => router.go("/events?resolved=no") });
  if (may(UserService.method.createUser)) {
    list.push({ id: "new user", group: t("nav.users"), title: t("users.new"), run: () => router.go("/users?new=1") });
  }
  if (may(CertificateService.method.generateCsr)) {
    list.push({ id: "csr", group: t("nav.certificate"), title: t("certificate.request"), run: () => router.go("/certificate?open=request") });
    list.push({ id: "certificate", group: t("nav.certificate"), title: t("certificate.replace"), run: () => router.go("/certificate?open=replace") });
    list.push({ id: "certificate reset", group: t("nav.certificate"), title: t("certificate.reset"), run: () => router.go("/certificate?open=reset") });
  }
  if (may(IpmiService.method.setIpmi) && machine.info.data?.health?.details.some((detail) => detail.component === "ipmisrv")) {
    list.push({ id: "ipmi", group: t("nav.network"), title: t("ipmi.title"), run: () => router.go("/network") });
  }
  const bmc = machine.controller.data;
  if (bmc && may(ManagementControllerService.method.changeManagementControllerState, machine.controller)) {
    for (const action of BMC_ACTIONS) {
      list.push({ id: `bmc ${action}`, group: t("nav.controller"), title: `${bmc.name}: ${label("bmcAction", ManagementControllerAction, action)}`, run: () => askBmc(bmc.name, action) });
    }
  }
  for (const sensor of readings.list) {
    const title = `${sensor.info.name} (${sensor.id})`;
    list.push({ id: `sensor ${sensor.id}`, group: t("nav.sensors"), title, run: () => router.go(`/sensors/${encodeURIComponent(sensor.id)}`) });
  }
  for (const theme of ["auto", "light", "dark", "contrast"] as const) {
    list.push({ id: `theme ${theme}`, group: t("settings.theme"), title: `${t("settings.theme")}: ${t(`settings.${theme}`)}`, run: () => prefs.set({ theme }) });
  }
  for (const { id, name } of LOCALES) {
    list.push({ id: `language ${id}`, group: t("settings.language"), title: `${t("settings.language")}: ${name}`, run: () => prefs.set({ language: id }) });
  }
  if (session.may(UserService.method.changePassword)) list.push({ id: "password", group: t("palette.session"), title: t("password.submit"), run: () => router.go("/settings") });
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
