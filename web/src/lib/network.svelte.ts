// The controller's own network, and whether anybody here looks after it.
import { network } from "./api";
import { machine } from "./machine.svelte";
import { Resource } from "./resource.svelte";

/** Leases are prolonged and speeds change without an event, ms. */
const EVERY = 15_000;

/** Whether this controller's network is netmgr's; `undefined` while that is not known. Without it there is nobody to ask. */
export function isManaged(): boolean | undefined {
  return machine.info.data?.health?.details.some((detail) => detail.component === "netmgr");
}

/** The interfaces and what follows from them, read once it is known that somebody answers. */
export function readNetwork(): Resource<Awaited<ReturnType<typeof network.listNetworkInterfaces>>> {
  const made = new Resource(() => network.listNetworkInterfaces({}), { on: (event) => event.domain === "network", every: EVERY, owner: "netmgr" });
  const is = $derived(isManaged() === true);
  $effect(() => (is ? made.run() : undefined));
  return made;
}
