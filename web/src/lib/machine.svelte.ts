// What every page shows something of: hosts, the chassis, the BMC and its health.
import type { Event } from "../gen/schema/v1alpha1/event_pb";
import { chassis, controllers, hosts, system } from "./api";
import { Resource } from "./resource.svelte";

const of = (...domains: string[]) => (event: Event) => domains.includes(event.domain);

class Machine {
  hosts = new Resource(async () => (await hosts.listHosts({})).hosts, { on: of("host", "chassis") });
  chassis = new Resource(async () => (await chassis.listChassis({})).chassis, { on: of("chassis", "host") });
  controller = new Resource(async () => (await controllers.listManagementControllers({})).controllers[0], {
    on: of("bmc"),
  });
  info = new Resource(async () => (await system.getSystemInfo({})).systemInfo, {
    on: of("daemon", "system", "bmc"),
  });
  #ends: (() => void)[] = [];

  start(): void {
    if (this.#ends.length) return;
    this.#ends = [this.hosts.run(), this.chassis.run(), this.controller.run(), this.info.run()];
  }

  stop(): void {
    this.#ends.forEach((end) => end());
    this.#ends = [];
  }

  /** The name by which this BMC is told apart from others: that of its chassis or what its owner wrote there. */
  get name(): string {
    const box = this.chassis.data?.[0];
    return box?.description || this.controller.data?.description || location.host;
  }
}

export const machine = new Machine();
