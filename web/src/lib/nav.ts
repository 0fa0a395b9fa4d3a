// The pages, as the navigation groups them. A page that only serves what an account may not do is not in its list.
import type { DescMethod } from "@bufbuild/protobuf";
import type { Component } from "svelte";
import Activity from "@lucide/svelte/icons/activity";
import BadgeCheck from "@lucide/svelte/icons/badge-check";
import Boxes from "@lucide/svelte/icons/boxes";
import Braces from "@lucide/svelte/icons/braces";
import Clock from "@lucide/svelte/icons/clock";
import Cpu from "@lucide/svelte/icons/cpu";
import Disc from "@lucide/svelte/icons/disc-3";
import Fan from "@lucide/svelte/icons/fan";
import Info from "@lucide/svelte/icons/info";
import LayoutDashboard from "@lucide/svelte/icons/layout-dashboard";
import Lightbulb from "@lucide/svelte/icons/lightbulb";
import Monitor from "@lucide/svelte/icons/monitor";
import MonitorCheck from "@lucide/svelte/icons/monitor-check";
import Network from "@lucide/svelte/icons/network";
import Power from "@lucide/svelte/icons/power";
import ScrollText from "@lucide/svelte/icons/scroll-text";
import Send from "@lucide/svelte/icons/send";
import Settings from "@lucide/svelte/icons/settings";
import ShieldCheck from "@lucide/svelte/icons/shield-check";
import SquareTerminal from "@lucide/svelte/icons/square-terminal";
import Users from "@lucide/svelte/icons/users";
import Workflow from "@lucide/svelte/icons/workflow";
import { ConsoleService } from "../gen/schema/v1alpha1/console_pb";
import { EventService } from "../gen/schema/v1alpha1/event_pb";
import { KvmService } from "../gen/schema/v1alpha1/kvm_pb";
import { SessionService } from "../gen/schema/v1alpha1/session_pb";
import { UserService } from "../gen/schema/v1alpha1/user_pb";
import type { Key } from "./i18n.svelte";
import type { PageName } from "./router.svelte";

export interface Entry {
  page: PageName;
  icon: Component;
  /** Keys that lead there, one after the other. */
  keys: string;
  /** Of no use to who may not call this. */
  needs?: DescMethod;
}

export const NAV: { title: Key; pages: Entry[] }[] = [
  {
    title: "nav.groupMachine",
    pages: [
      { page: "overview", icon: LayoutDashboard, keys: "g o" },
      { page: "power", icon: Power, keys: "g p" },
      { page: "console", icon: SquareTerminal, keys: "g m", needs: ConsoleService.method.openConsole },
      { page: "kvm", icon: Monitor, keys: "g k", needs: KvmService.method.viewScreen },
      { page: "media", icon: Disc, keys: "g v" },
      { page: "sensors", icon: Activity, keys: "g s" },
      { page: "thermal", icon: Fan, keys: "g t" },
      { page: "leds", icon: Lightbulb, keys: "g l" },
      { page: "inventory", icon: Boxes, keys: "g i" },
      { page: "events", icon: ScrollText, keys: "g e" },
    ],
  },
  {
    title: "nav.groupAccess",
    pages: [
      { page: "users", icon: Users, keys: "g u", needs: UserService.method.listUsers },
      { page: "sessions", icon: MonitorCheck, keys: "g n", needs: SessionService.method.listSessions },
      { page: "roles", icon: ShieldCheck, keys: "g r" },
    ],
  },
  {
    title: "nav.groupController",
    pages: [
      { page: "controller", icon: Cpu, keys: "g c" },
      { page: "network", icon: Network, keys: "g w" },
      { page: "time", icon: Clock, keys: "g z" },
      { page: "subscriptions", icon: Send, keys: "g x", needs: EventService.method.createEventSubscription },
      { page: "certificate", icon: BadgeCheck, keys: "g f" },
      { page: "services", icon: Workflow, keys: "g d" },
      { page: "api", icon: Braces, keys: "g a" },
      { page: "settings", icon: Settings, keys: "g ," },
      { page: "about", icon: Info, keys: "g b" },
    ],
  },
];
