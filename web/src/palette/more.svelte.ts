// Actions of the palette on what no page has at hand all the time: it is read when the palette is opened, and what cannot be read offers nothing.
import type { DescMethod } from "@bufbuild/protobuf";
import { ConsoleService } from "../gen/schema/v1alpha1/console_pb";
import { EventService } from "../gen/schema/v1alpha1/event_pb";
import { HostService, PowerRestorePolicy } from "../gen/schema/v1alpha1/host_pb";
import { KvmService } from "../gen/schema/v1alpha1/kvm_pb";
import { LedService, LedSource, LedState, type Led } from "../gen/schema/v1alpha1/led_pb";
import { LockoutService, type Lockout } from "../gen/schema/v1alpha1/lockout_pb";
import { MediaService, MediaState, type MediaFile, type MediaSlot } from "../gen/schema/v1alpha1/media_pb";
import { RoleService } from "../gen/schema/v1alpha1/role_pb";
import { SessionService, type Session } from "../gen/schema/v1alpha1/session_pb";
import { ThermalControlMode, ThermalService, type ThermalZone } from "../gen/schema/v1alpha1/thermal_pb";
import { UserService, type User } from "../gen/schema/v1alpha1/user_pb";
import { act, asking } from "../lib/act.svelte";
import { hosts, leds, lockouts, media, sessions, thermal } from "../lib/api";
import { allUsers } from "../lib/accounts";
import type { Command } from "../lib/commands.svelte";
import { label, t, type Key } from "../lib/i18n.svelte";
import { live } from "../lib/live.svelte";
import { machine } from "../lib/machine.svelte";
import { router } from "../lib/router.svelte";
import { session } from "../lib/session.svelte";

const POLICIES = [PowerRestorePolicy.LAST, PowerRestorePolicy.ALWAYS_ON, PowerRestorePolicy.ALWAYS_OFF];
const LED_STATES = [LedState.OFF, LedState.ON, LedState.BLINK, LedState.FAST_BLINK];

export class More {
  #sessions = $state.raw<Session[]>([]);
  #users = $state.raw<User[]>([]);
  #locks = $state.raw<Lockout[]>([]);
  #leds = $state.raw<Led[]>([]);
  #zones = $state.raw<ThermalZone[]>([]);
  #slots = $state.raw<MediaSlot[]>([]);
  #files = $state.raw<MediaFile[]>([]);

  constructor() {
    const read = <T>(needs: DescMethod, ask: () => Promise<T>, take: (answer: T) => void) => {
      if (session.may(needs)) ask().then(take, () => {});
    };
    read(UserService.method.listUsers, allUsers, (users) => (this.#users = users));
    read(UserService.method.listUsers, () => sessions.listSessions({}), ({ sessions }) => (this.#sessions = sessions));
    read(LockoutService.method.deleteLockout, () => lockouts.listLockouts({}), ({ lockouts }) => (this.#locks = lockouts));
    read(LedService.method.setLed, () => leds.listLeds({}), ({ leds }) => (this.#leds = leds));
    read(ThermalService.method.overrideThermalZone, () => thermal.listThermalZones({}), ({ thermalZones }) => (this.#zones = thermalZones));
    read(MediaService.method.ejectMedia, () => media.listMedia({}), ({ slots }) => (this.#slots = slots));
    read(MediaService.method.deleteMediaFile, () => media.listMediaFiles({}), ({ files }) => (this.#files = files));
  }

  get commands(): Command[] {
    const list: Command[] = [];
    // What would act is not offered while nobody hears of it.
    if (live.link === "lost") return list;
    const add = (id: string, group: Key, title: string, run: () => void) => list.push({ id, group: t(group), title, run });
    const go = (needs: DescMethod, id: string, group: Key, title: string, to: string) => {
      if (session.may(needs)) add(id, group, title, () => router.go(to));
    };
    for (const { name } of machine.hosts.data ?? []) {
      if (!machine.hosts.isStale && session.may(HostService.method.updateHost)) {
        for (const powerRestorePolicy of POLICIES) {
          const title = `${name}: ${t("power.policy")}: ${label("restorePolicy", PowerRestorePolicy, powerRestorePolicy)}`;
          add(`policy ${name} ${powerRestorePolicy}`, "nav.power", title, () =>
            void act(() => hosts.updateHost({ hostName: name, host: { powerRestorePolicy }, fieldMask: { paths: ["power_restore_policy"] } }), "power.policySet").then(() => machine.hosts.refresh()),
          );
        }
      }
      go(ConsoleService.method.openConsole, `console ${name}`, "nav.console", t("console.of", { host: name }), `/console/${encodeURIComponent(name)}`);
      go(KvmService.method.viewScreen, `kvm ${name}`, "nav.kvm", t("kvm.of", { host: name }), `/kvm/${encodeURIComponent(name)}`);
      go(MediaService.method.insertMedia, `media ${name}`, "nav.media", `${t("media.of", { host: name })}: ${t("media.insert")}`, `/media/${encodeURIComponent(name)}`);
    }
    for (const slot of this.#slots) {
      if (slot.state !== MediaState.INSERTED && slot.state !== MediaState.NOT_READY) continue;
      add(`eject ${slot.name}`, "nav.media", `${slot.name}: ${t("media.eject")} ${slot.imageName}`, () => void act(() => media.ejectMedia({ name: slot.name }), "media.ejected", { slot: slot.name }));
    }
    for (const { name, complete, inserted } of this.#files) {
      if (!complete || inserted) continue;
      const title = t("media.deleteAsk", { name });
      add(`file ${name}`, "nav.media", `${t("media.store")}: ${t("media.delete")} ${name}`, () =>
        asking.ask({ title, text: t("media.deleteText"), confirm: t("media.delete"), isDangerous: true, then: () => void act(() => media.deleteMediaFile({ name }), "media.deleted", { name }) }),
      );
    }
    for (const zone of this.#zones) {
      const title = `${t("thermal.zone")} ${zone.name}`;
      if (zone.controlMode === ThermalControlMode.MANUAL) {
        add(`release ${zone.name}`, "nav.thermal", `${title}: ${t("thermal.release")}`, () => void act(() => thermal.clearThermalOverride({ name: zone.name }), "thermal.overrideCleared", { zone: zone.name }));
      } else add(`override ${zone.name}`, "nav.thermal", `${title}: ${t("thermal.override")}`, () => router.go("/thermal"));
      if (zone.emergency) {
        add(`emergency ${zone.name}`, "nav.thermal", `${title}: ${t("thermal.clearEmergency")}`, () =>
          asking.ask({
            title: t("thermal.clearEmergency"),
            text: t("thermal.clearAbout"),
            confirm: t("thermal.clearEmergency"),
            isDangerous: true,
            then: () => void act(() => thermal.clearThermalEmergency({ name: zone.name }), "thermal.emergencyCleared"),
          }),
        );
      }
    }
    for (const led of this.#leds) {
      if (!led.settable) continue;
      const name = led.description || led.name;
      for (const state of LED_STATES) {
        add(`led ${led.name} ${state}`, "nav.leds", `${name}: ${label("ledState", LedState, state)}`, () => void act(() => leds.setLed({ name: led.name, state }), "leds.set", { led: name }));
      }
      if (led.source === LedSource.MANUAL) add(`led ${led.name} release`, "nav.leds", `${name}: ${t("leds.release")}`, () => void act(() => leds.releaseLed({ name: led.name }), "leds.released", { led: name }));
    }
    for (const { id, username } of this.#users) {
      const to = (what: string) => `/users?${what}=${encodeURIComponent(id)}`;
      go(UserService.method.updateUser, `user ${id}`, "nav.users", t("users.edit", { user: username }), to("edit"));
      if (id === session.who?.userId) continue;
      go(UserService.method.resetPassword, `user ${id} reset`, "nav.users", `${username}: ${t("users.resetDo")}`, to("reset"));
      go(UserService.method.deleteUser, `user ${id} delete`, "nav.users", `${username}: ${t("action.delete")}`, to("delete"));
    }
    for (const { id, username, address } of this.#locks) {
      add(`lock ${id}`, "nav.users", `${t("users.lift")}: ${[username, address].filter(Boolean).join(", ")}`, () => void act(() => lockouts.deleteLockout({ id }), "users.lifted"));
    }
    if (session.may(SessionService.method.deleteSession)) {
      for (const { id, username, address } of this.#sessions) {
        if (id === session.who?.sessionId) continue;
        const title = t("sessions.end", { user: username });
        add(`session ${id}`, "nav.sessions", `${title} ${address}`, () =>
          asking.ask({ title, text: t("sessions.endAbout", { address }), confirm: t("sessions.endDo"), isDangerous: true, then: () => void act(() => sessions.deleteSession({ id }), "sessions.ended") }),
        );
      }
    }
    go(RoleService.method.createRole, "new role", "nav.roles", t("roles.new"), "/roles?new=1");
    go(UserService.method.updateAccountPolicy, "account policy", "nav.users", t("policy.title"), "/users");
    go(EventService.method.createEventSubscription, "new subscription", "nav.subscriptions", t("subscriptions.new"), "/subscriptions?new=1");
    go(EventService.method.sendTestEvent, "test event", "nav.subscriptions", t("subscriptions.test"), "/subscriptions");
    return list;
  }
}
