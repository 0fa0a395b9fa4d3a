// What can be asked of a host, a chassis and the BMC, when it makes sense, and what is asked first.
import { ChassisAction } from "../gen/schema/v1alpha1/chassis_pb";
import { HostAction, HostStatus } from "../gen/schema/v1alpha1/host_pb";
import { ManagementControllerAction } from "../gen/schema/v1alpha1/managementcontroller_pb";
import { act, asking, toasts, words } from "./act.svelte";
import { chassis, controllers, hosts } from "./api";
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

export const CHASSIS_ACTIONS = [ChassisAction.ON, ChassisAction.OFF, ChassisAction.POWER_CYCLE, ChassisAction.EMERGENCY_SHUTDOWN] as const;

/** As {@link askHost}, for all hosts of a chassis. */
export function askChassis(box: string, action: ChassisAction): void {
  const name = label("chassisAction", ChassisAction, action);
  let requestId = "";
  asking.ask({
    title: t("power.ask", { action: name, host: box }),
    text: label("chassisActionAbout", ChassisAction, action),
    confirm: name,
    isDangerous: action !== ChassisAction.ON && action !== ChassisAction.OFF,
    ...(action === ChassisAction.EMERGENCY_SHUTDOWN ? { typed: box } : {}),
    then: () =>
      void act(async () => {
        const { refusals } = await chassis.changeChassisState({ chassisName: box, action }, { onHeader: (headers) => (requestId = headers.get("x-request-id") ?? "") });
        for (const { hostName, code, reason, message } of refusals) {
          const failure = { code, reason, message, metadata: {}, fields: [], requestId };
          toasts.add({ kind: "bad", text: `${hostName}: ${words(failure)}`, failure });
        }
      }, "power.started", { action: name, host: box }),
  });
}

export const BMC_ACTIONS = [
  ManagementControllerAction.WARM_RESET,
  ManagementControllerAction.REBOOT,
  ManagementControllerAction.COLD_RESET,
  ManagementControllerAction.FACTORY_RESET,
] as const;

/** As {@link askHost}, for the BMC itself. */
export function askBmc(name: string, action: ManagementControllerAction): void {
  const title = label("bmcAction", ManagementControllerAction, action);
  asking.ask({
    title: t("power.ask", { action: title, host: name }),
    text: label("bmcActionAbout", ManagementControllerAction, action),
    confirm: title,
    isDangerous: true,
    ...(action === ManagementControllerAction.FACTORY_RESET ? { typed: name } : {}),
    then: () => void act(() => controllers.changeManagementControllerState({ controllerName: name, action }), "power.started", { action: title, host: name }),
  });
}
