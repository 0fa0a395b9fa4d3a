// The public services of the API.
import type { DescService } from "@bufbuild/protobuf";
import { AssetService } from "../gen/schema/v1alpha1/asset_pb";
import { CertificateService } from "../gen/schema/v1alpha1/certificate_pb";
import { ChassisService } from "../gen/schema/v1alpha1/chassis_pb";
import { ConsoleService } from "../gen/schema/v1alpha1/console_pb";
import { EventService } from "../gen/schema/v1alpha1/event_pb";
import { HostFirmwareService } from "../gen/schema/v1alpha1/hostfirmware_pb";
import { HostService } from "../gen/schema/v1alpha1/host_pb";
import { IpmiService } from "../gen/schema/v1alpha1/ipmi_pb";
import { KvmService } from "../gen/schema/v1alpha1/kvm_pb";
import { LedService } from "../gen/schema/v1alpha1/led_pb";
import { LockoutService } from "../gen/schema/v1alpha1/lockout_pb";
import { ManagementControllerService } from "../gen/schema/v1alpha1/managementcontroller_pb";
import { MediaService } from "../gen/schema/v1alpha1/media_pb";
import { NetworkService } from "../gen/schema/v1alpha1/network_pb";
import { RedirectService } from "../gen/schema/v1alpha1/redirect_pb";
import { RoleService } from "../gen/schema/v1alpha1/role_pb";
import { SensorService } from "../gen/schema/v1alpha1/sensor_pb";
import { SessionService } from "../gen/schema/v1alpha1/session_pb";
import { SshService } from "../gen/schema/v1alpha1/ssh_pb";
import { SystemService } from "../gen/schema/v1alpha1/system_pb";
import { ThermalService } from "../gen/schema/v1alpha1/thermal_pb";
import { UserService } from "../gen/schema/v1alpha1/user_pb";
import { VncService } from "../gen/schema/v1alpha1/vnc_pb";

export const SERVICES: DescService[] = [
  AssetService,
  CertificateService,
  ChassisService,
  ConsoleService,
  EventService,
  HostFirmwareService,
  HostService,
  IpmiService,
  KvmService,
  LedService,
  LockoutService,
  ManagementControllerService,
  MediaService,
  NetworkService,
  RedirectService,
  RoleService,
  SensorService,
  SessionService,
  SshService,
  SystemService,
  ThermalService,
  UserService,
  VncService,
];
