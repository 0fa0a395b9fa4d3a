// Which colour a state has. Green is well, amber wants somebody soon, red now, blue is under way, grey is off or not known.
import { HostStatus, OperationResult } from "../gen/schema/v1alpha1/host_pb";
import { DaemonState, HealthStatus } from "../gen/schema/v1alpha1/system_pb";
import { EventSeverity } from "../gen/schema/v1alpha1/event_pb";
import { SensorStatus } from "../gen/schema/v1alpha1/sensor_pb";
import { CoolingDeviceStatus, CoolingRedundancyStatus, ThermalControlMode, ThermalZoneStatus } from "../gen/schema/v1alpha1/thermal_pb";
import { NetworkInterfaceState } from "../gen/schema/v1alpha1/network_pb";
import { AssetQuality } from "../gen/schema/v1alpha1/asset_pb";

export type Tone = "ok" | "warn" | "crit" | "busy" | "off";

export function hostTone(status: HostStatus | undefined): Tone {
  switch (status) {
    case HostStatus.ON:
      return "ok";
    case HostStatus.TRANSITIONING:
      return "busy";
    case HostStatus.DIAGNOSTIC:
    case HostStatus.QUIESCED:
      return "warn";
    case HostStatus.ERROR:
      return "crit";
    default:
      return "off";
  }
}

export function resultTone(result: OperationResult): Tone {
  switch (result) {
    case OperationResult.RUNNING:
      return "busy";
    case OperationResult.DONE:
      return "ok";
    case OperationResult.FAILED:
      return "crit";
    default:
      return "off";
  }
}

export function healthTone(status: HealthStatus | undefined): Tone {
  switch (status) {
    case HealthStatus.OK:
      return "ok";
    case HealthStatus.WARNING:
      return "warn";
    case HealthStatus.CRITICAL:
      return "crit";
    default:
      return "off";
  }
}

export function daemonTone(state: DaemonState): Tone {
  switch (state) {
    case DaemonState.READY:
      return "ok";
    case DaemonState.STARTING:
    case DaemonState.WAITING:
    case DaemonState.STOPPING:
      return "busy";
    case DaemonState.BACKOFF:
      return "warn";
    case DaemonState.DEGRADED:
    case DaemonState.FAILED:
      return "crit";
    default:
      return "off";
  }
}

export function severityTone(severity: EventSeverity): Tone {
  switch (severity) {
    case EventSeverity.CRITICAL:
      return "crit";
    case EventSeverity.WARNING:
      return "warn";
    case EventSeverity.INFO:
      return "busy";
    default:
      return "off";
  }
}

export function sensorTone(status: SensorStatus): Tone {
  switch (status) {
    case SensorStatus.ENABLED:
      return "ok";
    case SensorStatus.WARNING:
      return "warn";
    case SensorStatus.CRITICAL:
    case SensorStatus.FATAL:
    case SensorStatus.ERROR:
      return "crit";
    default:
      return "off";
  }
}

export function zoneTone(status: ThermalZoneStatus): Tone {
  switch (status) {
    case ThermalZoneStatus.NORMAL:
      return "ok";
    case ThermalZoneStatus.WARNING:
      return "warn";
    case ThermalZoneStatus.CRITICAL:
    case ThermalZoneStatus.ERROR:
      return "crit";
    default:
      return "off";
  }
}

export function modeTone(mode: ThermalControlMode): Tone {
  switch (mode) {
    case ThermalControlMode.AUTOMATIC:
      return "ok";
    case ThermalControlMode.MANUAL:
      return "busy";
    case ThermalControlMode.FAILSAFE:
      return "warn";
    default:
      return "off";
  }
}

export function fanTone(status: CoolingDeviceStatus): Tone {
  switch (status) {
    case CoolingDeviceStatus.ENABLED:
      return "ok";
    case CoolingDeviceStatus.ERROR:
      return "crit";
    default:
      return "off";
  }
}

export function redundancyTone(status: CoolingRedundancyStatus): Tone {
  switch (status) {
    case CoolingRedundancyStatus.FULL:
      return "ok";
    case CoolingRedundancyStatus.DEGRADED:
      return "warn";
    case CoolingRedundancyStatus.LOST:
      return "crit";
    default:
      return "off";
  }
}

export function assetTone(isPresent: boolean, quality: AssetQuality): Tone {
  if (!isPresent) return "off";
  return quality === AssetQuality.GOOD ? "ok" : quality === AssetQuality.STALE ? "off" : "warn";
}

export function networkTone(state: NetworkInterfaceState): Tone {
  switch (state) {
    case NetworkInterfaceState.UP:
      return "ok";
    case NetworkInterfaceState.NO_LINK:
    case NetworkInterfaceState.ABSENT:
      return "warn";
    default:
      return "off";
  }
}
