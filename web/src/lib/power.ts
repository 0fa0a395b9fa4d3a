// What can be asked of a host, when it makes sense, and what is asked first.
import { HostAction, HostStatus } from "../gen/schema/v1alpha1/host_pb";
import { act, asking } from "./act.svelte";
import { hosts } from "./api";
import { label, t } from "./i18n.svelte";

export const HOST_ACTIONS = [
  HostAction.ON,
  HostAction.OFF,
  HostAction.REBOOT,
  HostAction.POWER_CYCLE,
  HostAction.FORCE_RESTART,
  HostAction.FORCE_OFF,
  HostAction.NMI,
] as const;

/** What may cost the host's data. */
export const DANGEROUS: ReadonlySet<HostAction> = new Set([
  HostAction.FORCE_OFF,
  HostAction.FORCE_RESTART,
  HostAction.POWER_CYCLE,
  HostAction.NMI,
]);

/** Whether an action makes sense for a host in this state. */
export function isOffered(action: HostAction, status: HostStatus): boolean {
  switch (status) {
    case HostStatus.OFF:
      return action === HostAction.ON;
    case HostStatus.TRANSITIONING:
      // What is under way can be cut short.
      return action === HostAction.FORCE_OFF;
    case HostStatus.UNSPECIFIED:
    case HostStatus.ERROR:
      return action !== HostAction.NMI;
    default:
      return action !== HostAction.ON;
  }
}

/** Does it, after a question where it is not harmless. */
export function askHost(host: string, action: HostAction): void {
  const name = label("hostAction", HostAction, action);
  const run = () => void act(() => hosts.changeHostState({ hostName: host, action }), "power.started", { action: name, host });
  if (action === HostAction.ON) {
    run();
    return;
  }
  asking.ask({
    title: t("power.ask", { action: name, host }),
    text: label("hostActionAbout", HostAction, action),
    confirm: name,
    isDangerous: DANGEROUS.has(action),
    then: run,
  });
}
