// What can be asked of a host, a chassis and the BMC, when it makes sense, and what is asked first.
import { ChassisAction } from "../gen/schema/v1alpha1/chassis_pb";
import { HostAction, HostStatus } from "../gen/schema/v1alpha1/host_pb";
import { ManagementControllerAction } from "../gen/schema/v1alpha1/managementcontroller_pb";
import { ThermalFaultReason, ThermalZoneStatus } from "../gen/schema/v1alpha1/thermal_pb";
import { act, asking, toasts, words } from "./act.svelte";
import { chassis, controllers, hosts, thermal } from "./api";
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

/** How long the answer to how hot it is may take before power goes on all the same, ms. */
const ASK_HEAT = 2000;

/** What speaks against power: zones that are over critical, or whose emergency nobody has cleared. Empty where there are none, or nobody says. */
async function heat(): Promise<string> {
  const all = await thermal.listThermalZones({}, { timeoutMs: ASK_HEAT }).then(({ thermalZones }) => thermalZones, () => []);
  const hot = all.filter((zone) => zone.emergency || zone.status === ThermalZoneStatus.CRITICAL);
  const zones = hot.map(({ name, emergency, status }) => `${t("thermal.zone")} ${name}: ${emergency ? label("thermalFault", ThermalFaultReason, ThermalFaultReason.EMERGENCY) : label("zoneStatus", ThermalZoneStatus, status)}`);
  return zones.length ? t("power.hot", { zones: zones.join(", ") }) : "";
}

/** Does it, after a question where it is not harmless. */
export function askHost(host: string, action: HostAction): void {
  const name = label("hostAction", HostAction, action);
  const run = () => void act(() => hosts.changeHostState({ hostName: host, action }), "power.started", { action: name, host });
  const ask = (text: string, isDangerous: boolean) => asking.ask({ title: t("power.ask", { action: name, host }), text, confirm: name, isDangerous, then: run });
  if (action === HostAction.ON) void heat().then((hot) => (hot ? ask(hot, true) : run()));
  else ask(label("hostActionAbout", HostAction, action), DANGEROUS.has(action));
}

export const CHASSIS_ACTIONS = [ChassisAction.ON, ChassisAction.OFF, ChassisAction.POWER_CYCLE, ChassisAction.EMERGENCY_SHUTDOWN] as const;

/** As {@link askHost}, for all hosts of a chassis. */
export function askChassis(box: string, action: ChassisAction): void {
  const name = label("chassisAction", ChassisAction, action);
  let requestId = "";
  const ask = (hot: string) => asking.ask({
    title: t("power.ask", { action: name, host: box }),
    text: `${label("chassisActionAbout", ChassisAction, action)} ${hot}`.trim(),
    confirm: name,
    isDangerous: hot !== "" || (action !== ChassisAction.ON && action !== ChassisAction.OFF),
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
  if (action === ChassisAction.ON) void heat().then(ask);
  else ask("");
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
