// What every page shows something of: hosts, the chassis, the BMC and its health.
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import { HealthStatus } from "../gen/schema/v1alpha1/system_pb";
import { chassis, controllers, hosts, system } from "./api";
import { clock } from "./clock.svelte";
import { Resource } from "./resource.svelte";

const of = (...domains: string[]) => (event: Event) => domains.includes(event.domain);

/** Power is told by events, but not that who tells them hangs, ms. */
const LOOK = 10_000;
/** How often the health of the BMC is read while something is wrong with it: not every end of that is told, ms. */
const UNWELL = 5000;

class Machine {
  hosts = new Resource(async () => (await hosts.listHosts({})).hosts, { on: of("host", "chassis"), owner: "statemgr", every: LOOK });
  chassis = new Resource(async () => (await chassis.listChassis({})).chassis, { on: of("chassis", "host"), owner: "statemgr" });
  controller = new Resource(async () => (await controllers.listManagementControllers({})).controllers[0], {
    on: of("bmc"),
    owner: "statemgr",
  });
  info = new Resource(async () => (await system.getSystemInfo({})).systemInfo, {
    on: of("daemon", "system", "bmc", "store"),
    // A store that is full keeps no event of that.
    every: 3 * LOOK,
  });
  #ends: (() => void)[] = [];

  start(): void {
    if (this.#ends.length) return;
    const unwell = setInterval(() => {
      const health = this.info.data?.health;
      if (health && health.status !== HealthStatus.OK && !document.hidden && !this.info.loading) void this.info.refresh();
    }, UNWELL);
    this.#ends = [this.hosts.run(), this.chassis.run(), this.controller.run(), this.info.run(), () => clearInterval(unwell)];
  }

  stop(): void {
    this.#ends.forEach((end) => end());
    this.#ends = [];
  }

  /** A length of time that a resource has and that goes on, s. */
  goesOn(length: number | undefined, from: Resource<unknown>): number | undefined {
    return length === undefined ? undefined : length + Math.max(0, clock.now - from.at) / 1000;
  }

  /** The name by which this BMC is told apart from others: that of its chassis or what its owner wrote there. */
  get name(): string {
    const box = this.chassis.data?.[0];
    return box?.description || this.controller.data?.description || location.host;
  }
}

export const machine = new Machine();
