//! A machine with everything on it, as its daemons would answer, and requests to it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part of it")]

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use redfish::{
    About, Answer, Asker, Call, Exchange, Fault, Kind, Method, Privileges, Property, Request, Resource, Step,
    resources,
};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

mod made;

pub use made::{definition, trigger, watchdog, zone};

/// What each method of the contract answers, by its subject.
pub struct Bench {
    pub answers: HashMap<&'static str, Result<Vec<u8>, Fault>>,
    pub asker: Asker,
    /// What was called to change something.
    pub called: Vec<Call>,
    /// What was asked for to be shown, or compared.
    pub asked: Vec<Call>,
    /// Streams that were closed.
    pub closed: Vec<String>,
    /// How what is measured and what cools is.
    pub rollup: Option<Arc<redfish::Rollup>>,
    /// What the firmware of each host has reported; another host's has not.
    pub firmware: Vec<v1::HostFirmware>,
}

pub fn asker(name: &str, role: auth::Role) -> Asker {
    let numbers: Vec<i32> = (0..=6).collect();
    let all = Privileges::of(&numbers);
    Asker {
        user_id: format!("id-of-{name}"),
        username: name.to_owned(),
        session_id: format!("session-of-{name}"),
        privileges: match role {
            auth::Role::Administrator => all,
            auth::Role::Operator => {
                Privileges::LOGIN.and(Privileges::CONFIGURE_SELF).and(Privileges::CONFIGURE_COMPONENTS)
            }
            auth::Role::ReadOnly => Privileges::LOGIN.and(Privileges::CONFIGURE_SELF),
        },
        opens_consoles: true,
        password_change_required: false,
    }
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn sensor(id: &str, context: v1::SensorContext, unit: v1::SensorUnit, value: f64) -> v1::Sensor {
    let threshold =
        |at: f64| Some(v1::Threshold { warning: Some(at), critical: Some(at * 2.0), fatal: Some(at * 3.0) });
    v1::Sensor {
        id: id.to_owned(),
        name: format!("Sensor {id}"),
        context: Some(context.into()),
        unit: Some(unit.into()),
        status: Some(v1::SensorStatus::Enabled.into()),
        quality: v1::SensorQuality::Good.into(),
        last_reading_timestamp: time(1_790_000_000),
        reading_range_min: Some(0.0),
        reading_range_max: Some(1000.0),
        number: 3,
        reading: Some(v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading {
            value: Some(value),
            upper_thresholds: threshold(90.0),
            lower_thresholds: threshold(1.0),
            ..v1::AnalogSensorReading::default()
        })),
        ..v1::Sensor::default()
    }
}

fn placed(place: &str, sensor: v1::Sensor) -> v1::Sensor {
    v1::Sensor { custom_attributes: [("place".to_owned(), place.to_owned())].into(), ..sensor }
}

fn asset(id: &str, kind: v1::AssetType, host: &str, notes: &[(&str, &str)]) -> v1::Asset {
    v1::Asset {
        id: id.to_owned(),
        name: format!("Part {id}"),
        r#type: kind.into(),
        source: if host.is_empty() { v1::AssetSource::Fru } else { v1::AssetSource::Smbios }.into(),
        present: true,
        quality: v1::AssetQuality::Good.into(),
        host_name: host.to_owned(),
        info: Some(v1::AssetInfo {
            product_name: if kind == v1::AssetType::Memory { "DDR5".into() } else { format!("Product {id}") },
            asset_tag: Some("tag".into()),
            part_number: Some("part".into()),
            serial_number: Some("serial".into()),
            manufacturer: Some("Maker".into()),
            revision: Some("1.2.3".into()),
            uuid: Some("01234567-89ab-cdef-0123-456789abcdef".into()),
            sku: Some("sku".into()),
            custom_attributes: notes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..v1::AssetInfo::default()
        }),
        ..v1::Asset::default()
    }
}

fn with_mac(asset: v1::Asset) -> v1::Asset {
    let info = asset.info.map(|info| v1::AssetInfo { mac_addresses: vec![MAC.into()], ..info });
    v1::Asset { info, ..asset }
}

fn made(asset: v1::Asset) -> v1::Asset {
    let info = asset.info.map(|info| v1::AssetInfo { manufacturing_date: time(1_600_000_000), ..info });
    v1::Asset { info, ..asset }
}

/// Of the machine's port.
pub const MAC: &str = "52:54:00:12:34:56";

pub fn user(name: &str, role: auth::Role) -> v1::User {
    v1::User {
        id: format!("id-of-{name}"),
        username: name.to_owned(),
        full_name: Some(format!("The {name}")),
        role: role.name().to_owned(),
        enabled: Some(true),
        account_types: [v1::AccountType::Redfish, v1::AccountType::Kvmip, v1::AccountType::WebUi]
            .map(i32::from)
            .to_vec(),
        password_expires_at: time(1_800_000_000),
        expires_at: time(1_900_000_000).filter(|_| name == "olga"),
        ..v1::User::default()
    }
}

pub fn session(name: &str, role: auth::Role) -> v1::Session {
    v1::Session {
        id: format!("session-of-{name}"),
        user_id: format!("id-of-{name}"),
        username: name.to_owned(),
        role: role.name().to_owned(),
        created_at: time(1_790_000_000),
        address: "192.0.2.1".into(),
        ..v1::Session::default()
    }
}

pub fn subscription(id: &str, state: v1::EventSubscriptionState) -> v1::EventSubscription {
    v1::EventSubscription {
        id: id.to_owned(),
        destination: "https://collector.example/events".into(),
        context: "rack 7".into(),
        registry_prefixes: vec!["UBmc".into()],
        resource_types: vec!["ComputerSystem".into()],
        message_ids: vec!["UBmc.1.0.EventWarning".into()],
        origin_resources: vec!["/redfish/v1/Systems/system".into()],
        subordinate_resources: true,
        retry_policy: v1::EventRetryPolicy::RetryForeverWithBackoff.into(),
        verify_certificate: Some(true),
        http_headers: Vec::new(),
        format: v1::EventFormat::Event.into(),
        metric_report_definitions: Vec::new(),
        send_heartbeat: None,
        heartbeat_interval_minutes: 0,
        username: "admin".into(),
        state: state.into(),
        sequence: 7,
        failures: u32::from(state != v1::EventSubscriptionState::Active),
        error: if state == v1::EventSubscriptionState::Active {
            String::new()
        } else {
            "it answered 500".into()
        },
    }
}

/// Where certificates are.
pub const OF_HTTPS: &str = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates";

/// A certificate with its chain.
pub fn certificate() -> v1::Certificate {
    let name = |common: &str| {
        Some(v1::CertificateName { common_name: common.into(), country: "XX".into(), ..Default::default() })
    };
    let one = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    v1::Certificate {
        pem: one.repeat(2),
        subject: name("bmc.example"),
        issuer: name("root"),
        not_before: time(1_780_000_000),
        not_after: time(1_790_000_000),
        serial_number: "01:02".into(),
        fingerprint: "sha256:0a0b".into(),
        key_usage: vec!["DigitalSignature".into(), "ServerAuthentication".into()],
        alternative_names: vec!["bmc.example".into()],
        source: v1::CertificateSource::Installed.into(),
        ..Default::default()
    }
}

/// An interface with everything, and one that is not there.
pub fn network() -> v1::ListNetworkInterfacesResponse {
    use v1::AddressOrigin as O;
    let address = |address: &str, origin: O| v1::InterfaceAddress {
        address: address.to_owned(),
        origin: origin.into(),
        lease_end: None,
    };
    let eth0 = v1::NetworkInterface {
        name: "eth0".into(),
        mac_address: vec![2, 0, 0, 0, 0, 1],
        permanent_mac_address: vec![2, 0, 0, 0, 0, 9],
        addresses: vec![
            address("192.0.2.5/24", O::Dhcp),
            address("198.51.100.5/30", O::Static),
            address("2001:db8::5/64", O::Router),
            address("fe80::1/64", O::LinkLocal),
            address("none", O::Static),
        ],
        gateways: vec!["2001:db8::1".into(), "192.0.2.1".into()],
        state: v1::NetworkInterfaceState::Up.into(),
        mtu: 1500,
        speed_mbps: Some(1000),
        full_duplex: Some(true),
        vlan_id: Some(7),
        dhcp4: true,
        dhcp6: true,
        router_advertisements: true,
        name_servers: vec!["192.0.2.53".into(), "192.0.2.54".into()],
        static_name_servers: vec!["192.0.2.53".into()],
        fixed4: None,
    };
    let state = v1::NetworkInterfaceState::Absent.into();
    v1::ListNetworkInterfacesResponse {
        interfaces: vec![eth0, v1::NetworkInterface { name: "eth1".into(), state, ..Default::default() }],
        host_name: "bmc".into(),
        domains: vec!["rack.example".into(), "example".into()],
        name_servers: vec!["192.0.2.53".into()],
        time_servers: vec!["192.0.2.123".into(), "192.0.2.1".into()],
        static_time_servers: vec!["192.0.2.123".into()],
        time_enabled: Some(true),
        ..Default::default()
    }
}

/// A text, a number or a switch of an attribute.
pub fn set(value: impl Into<Value>) -> Option<v1::FirmwareValue> {
    use v1::firmware_value::Value as Set;
    let value = match value.into() {
        Value::Bool(switch) => Set::Boolean(switch),
        Value::Number(number) => Set::Integer(number.as_i64().unwrap()),
        Value::String(text) => Set::Text(text),
        other => panic!("{other} is no value of an attribute"),
    };
    Some(v1::FirmwareValue { value: Some(value) })
}

/// An attribute that is, and was made as, `value`.
pub fn attribute(
    name: &str,
    kind: v1::FirmwareAttributeType,
    value: Option<v1::FirmwareValue>,
) -> v1::FirmwareAttribute {
    v1::FirmwareAttribute {
        name: name.to_owned(),
        display_name: format!("The {name}"),
        help: format!("What {name} does"),
        menu_path: "./Processor/Cores".to_owned(),
        r#type: kind.into(),
        current: value.clone(),
        default_value: value,
        ..v1::FirmwareAttribute::default()
    }
}

/// The firmware of a host with an attribute of each kind, one that is shown only, three boot options, secure boot; nothing is wished.
pub fn firmware(host: &str) -> v1::HostFirmware {
    use v1::FirmwareAttributeType as T;
    let choice = |name: &str| v1::FirmwareChoice { name: name.into(), display_name: format!("Is {name}") };
    let option = |name: &str, alias: v1::BootTarget| v1::BootOption {
        name: name.to_owned(),
        display_name: format!("Option {name}"),
        device_path: "PciRoot(0x0)/Pci(0x1,0x0)".to_owned(),
        alias: alias.into(),
        enabled: true,
    };
    v1::HostFirmware {
        host_name: host.to_owned(),
        attributes: vec![
            v1::FirmwareAttribute {
                choices: ["Enabled", "Disabled"].map(choice).to_vec(),
                ..attribute("Smt", T::Enumeration, set("Enabled"))
            },
            v1::FirmwareAttribute {
                lower_bound: Some(0),
                upper_bound: Some(10),
                step: Some(2),
                ..attribute("Retries", T::Integer, set(4))
            },
            v1::FirmwareAttribute {
                min_length: Some(2),
                max_length: Some(8),
                ..attribute("Owner", T::String, set("rack"))
            },
            attribute("Quiet", T::Boolean, set(true)),
            v1::FirmwareAttribute { read_only: true, ..attribute("Stepping", T::String, set("B0")) },
        ],
        boot_options: vec![
            option("Boot0001", v1::BootTarget::Hdd),
            option("Boot0002", v1::BootTarget::Pxe),
            option("Boot0003", v1::BootTarget::Unspecified),
        ],
        boot_order: ["Boot0001", "Boot0002", "Boot0003"].map(str::to_owned).to_vec(),
        secure_boot: Some(v1::SecureBoot {
            enabled: true,
            active: false,
            mode: v1::SecureBootMode::User.into(),
            pending_keys_action: 0,
        }),
        ..v1::HostFirmware::default()
    }
}

/// What is said of that with the host.
pub fn firmware_summary() -> v1::HostFirmwareSummary {
    let boot_order = firmware("system").boot_order;
    v1::HostFirmwareSummary { has_attributes: true, has_secure_boot: true, boot_order }
}

/// The registry of the attributes of the host.
pub const REGISTRY: &str = "BiosAttributeRegistry.system";

impl Bench {
    pub fn new() -> Self {
        Self::by(asker("admin", auth::Role::Administrator))
    }

    pub fn by(asker: Asker) -> Self {
        let mut bench = Self {
            answers: HashMap::new(),
            asker,
            called: Vec::new(),
            asked: Vec::new(),
            closed: Vec::new(),
            rollup: None,
            firmware: Vec::new(),
        };
        bench.fill();
        bench
    }

    pub fn say<M: Message>(&mut self, subject: &'static str, answer: &M) {
        self.answers.insert(subject, Ok(answer.encode_to_vec()));
    }

    pub fn refuse(&mut self, subject: &'static str, fault: Fault) {
        self.answers.insert(subject, Err(fault));
    }

    /// As new, with owners that say yes ([`Bench::agree`]).
    pub fn agreeing() -> Self {
        let mut bench = Self::new();
        bench.agree();
        bench
    }

    /// The owners of what changes say yes, and what was made is there.
    pub fn agree(&mut self) {
        self.say("rpc.EventService.ResolveEvents", &v1::ResolveEventsResponse::default());
        self.say("rpc.EventService.ReopenEvents", &v1::ReopenEventsResponse::default());
        self.say("rpc.EventService.ClearEvents", &v1::ClearEventsResponse::default());
        self.say("rpc.MediaService.InsertMedia", &v1::InsertMediaResponse::default());
        self.say("rpc.MediaService.EjectMedia", &v1::EjectMediaResponse::default());
        self.say("rpc.MediaService.ConfigureMedia", &v1::ConfigureMediaResponse::default());
        self.say("rpc.AssetService.SetAssetInfo", &v1::SetAssetInfoResponse::default());
        self.say("rpc.ChassisService.ChangeChassisState", &v1::ChangeChassisStateResponse::default());
        self.say("rpc.ThermalService.OverrideThermalZone", &v1::OverrideThermalZoneResponse::default());
        self.say("rpc.ThermalService.ClearThermalOverride", &v1::ClearThermalOverrideResponse::default());
        self.say("rpc.NetworkService.ChangeNetwork", &v1::ChangeNetworkResponse::default());
        self.say("rpc.NetworkService.SetTime", &v1::SetTimeResponse::default());
        self.say("rpc.IpmiService.SetIpmi", &v1::SetIpmiResponse::default());
        self.say("rpc.SshService.SetSsh", &v1::SetSshResponse::default());
        self.say("rpc.VncService.SetVnc", &v1::SetVncResponse::default());
        self.say("rpc.RedirectService.SetRedirect", &v1::SetRedirectResponse::default());
        self.say("rpc.MediaService.SetMediaSwitch", &v1::SetMediaSwitchResponse::default());
        self.say("rpc.IpmiService.SetHostWatchdog", &v1::SetHostWatchdogResponse::default());
        self.say("rpc.HostService.UpdateHost", &v1::UpdateHostResponse::default());
        self.say("rpc.HostService.ChangeHostState", &v1::ChangeHostStateResponse::default());
        self.say("rpc.HostFirmwareService.UpdateHostFirmware", &v1::UpdateHostFirmwareResponse::default());
        self.say(
            "rpc.HostFirmwareService.DiscardHostFirmwareChanges",
            &v1::DiscardHostFirmwareChangesResponse::default(),
        );
        self.say(
            "rpc.ManagementControllerService.ChangeManagementControllerState",
            &v1::ChangeManagementControllerStateResponse::default(),
        );
        self.say("rpc.UserService.UpdateAccountPolicy", &v1::UpdateAccountPolicyResponse::default());
        self.say("rpc.UserService.UpdateUser", &v1::UpdateUserResponse::default());
        self.say("rpc.UserService.ResetPassword", &v1::ResetPasswordResponse::default());
        self.say("rpc.UserService.DeleteUser", &v1::DeleteUserResponse::default());
        let user = Some(user("olga", auth::Role::Operator));
        self.say("rpc.UserService.CreateUser", &v1::CreateUserResponse { user, ..Default::default() });
        let role = v1::Role { id: "night".into(), privileges: vec![2, 4], ..v1::Role::default() };
        self.say("rpc.RoleService.CreateRole", &v1::CreateRoleResponse { role: Some(role) });
        self.say("rpc.RoleService.UpdateRole", &v1::UpdateRoleResponse::default());
        self.say("rpc.RoleService.DeleteRole", &v1::DeleteRoleResponse::default());
        self.say("rpc.SessionService.DeleteSession", &v1::DeleteSessionResponse::default());
        let session = Some(session("olga", auth::Role::Operator));
        self.say(
            "rpc.SessionService.CreateSession",
            &v1::CreateSessionResponse { session, token: "the-token".into() },
        );
        let subscription = Some(subscription("sub-1", v1::EventSubscriptionState::Active));
        self.say(
            "rpc.EventService.CreateEventSubscription",
            &v1::CreateEventSubscriptionResponse { subscription },
        );
        self.say("rpc.EventService.UpdateEventSubscription", &v1::UpdateEventSubscriptionResponse::default());
        self.say("rpc.EventService.DeleteEventSubscription", &v1::DeleteEventSubscriptionResponse::default());
        self.say("rpc.EventService.SendTestEvent", &v1::SendTestEventResponse::default());
        let definition = Some(definition());
        self.say(
            "rpc.TelemetryService.CreateReportDefinition",
            &v1::CreateReportDefinitionResponse { definition },
        );
        self.say(
            "rpc.TelemetryService.UpdateReportDefinition",
            &v1::UpdateReportDefinitionResponse::default(),
        );
        self.say(
            "rpc.TelemetryService.DeleteReportDefinition",
            &v1::DeleteReportDefinitionResponse::default(),
        );
        let trigger = Some(trigger());
        self.say("rpc.TelemetryService.CreateTrigger", &v1::CreateTriggerResponse { trigger });
        self.say("rpc.TelemetryService.UpdateTrigger", &v1::UpdateTriggerResponse::default());
        self.say("rpc.TelemetryService.DeleteTrigger", &v1::DeleteTriggerResponse::default());
        let csr = v1::GenerateCsrResponse { csr: "-----BEGIN CERTIFICATE REQUEST-----".into() };
        self.say("rpc.CertificateService.GenerateCsr", &csr);
        let replaced = v1::ReplaceCertificateResponse { certificate: Some(certificate()) };
        self.say("rpc.CertificateService.ReplaceCertificate", &replaced);
    }

    fn fill(&mut self) {
        let host = v1::Host {
            name: "system".into(),
            description: Some("the host".into()),
            status: Some(v1::HostStatus::On.into()),
            operating_system: Some(v1::HostOperatingSystem {
                name: Some("node1".into()),
                ..Default::default()
            }),
            power_restore_policy: Some(v1::PowerRestorePolicy::Last.into()),
            last_reboot: Some(v1::HostRebootInfo {
                last_reboot_time: time(1_790_000_000),
                ..Default::default()
            }),
            boot_progress: Some(v1::BootProgress {
                stage: v1::BootProgressStage::Complete.into(),
                stage_at: time(1_790_000_060),
                ..v1::BootProgress::default()
            }),
            chassis_name: "chassis".into(),
            boot_override: Some(v1::BootOverride {
                target: v1::BootTarget::None.into(),
                enabled: v1::BootOverrideEnabled::Disabled.into(),
                supported_targets: (1..=10).collect(),
                supported_modes: vec![1, 2],
                ..v1::BootOverride::default()
            }),
            firmware_settings: Some(firmware_summary()),
            ..v1::Host::default()
        };
        self.firmware = vec![firmware("system")];
        self.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
        let chassis = v1::Chassis {
            name: "chassis".into(),
            description: Some("the box".into()),
            r#type: Some(v1::ChassisType::RackMount.into()),
            status: Some(v1::ChassisStatus::On.into()),
            host_names: vec!["system".into()],
            identify: Some(false),
            ..v1::Chassis::default()
        };
        self.say(
            "rpc.ChassisService.ListChassis",
            &v1::ListChassisResponse { chassis: vec![chassis], ..Default::default() },
        );
        let console = v1::Console { name: "system".into(), connected: true, ..v1::Console::default() };
        self.say("rpc.ConsoleService.ListConsoles", &v1::ListConsolesResponse { consoles: vec![console] });
        let screen = v1::Screen { name: "system".into(), ..v1::Screen::default() };
        self.say("rpc.KvmService.ListScreens", &v1::ListScreensResponse { screens: vec![screen] });
        let cd = v1::MediaSlot {
            name: "cd".into(),
            host_name: "system".into(),
            kind: v1::MediaKind::Cd.into(),
            state: v1::MediaState::Inserted.into(),
            source: v1::MediaSource::Url.into(),
            url: "https://images.example/a.iso".into(),
            image_name: "a.iso".into(),
            size_bytes: 2048,
            verify_certificate: true,
            ..v1::MediaSlot::default()
        };
        self.say(
            "rpc.MediaService.ListMedia",
            &v1::ListMediaResponse { slots: vec![cd], ..Default::default() },
        );
        let controller = v1::ManagementController {
            name: "bmc".into(),
            description: Some("the bmc".into()),
            status: Some(v1::ManagementControllerStatus::Ready.into()),
            firmware: Some(v1::Firmware {
                version: Some("0.1.0".into()),
                vendor: Some("u-bmc".into()),
                ..v1::Firmware::default()
            }),
            last_reboot: Some(v1::ManagementControllerRebootInfo {
                last_reboot_time: time(1_780_000_000),
                ..Default::default()
            }),
            ..v1::ManagementController::default()
        };
        self.say(
            "rpc.ManagementControllerService.ListManagementControllers",
            &v1::ListManagementControllersResponse { controllers: vec![controller] },
        );
        let system = v1::SystemInfo {
            name: "bmc".into(),
            board: "u-bmc/sim".into(),
            firmware_slots: [("a", "0.1.0", true), ("b", "0.0.9", false)]
                .into_iter()
                .map(|(name, version, active)| v1::FirmwareSlot {
                    name: name.into(),
                    version: version.into(),
                    active,
                    state: v1::FirmwareSlotState::Confirmed.into(),
                })
                .collect(),
            listeners: [("https", 443), ("ssh", 2200)]
                .map(|(name, port)| v1::Listener { name: name.into(), address: "::".into(), port })
                .into(),
            health: Some(v1::Health { status: v1::HealthStatus::Ok.into(), ..v1::Health::default() }),
            ..v1::SystemInfo::default()
        };
        self.say("rpc.SystemService.GetSystemInfo", &v1::GetSystemInfoResponse { system_info: Some(system) });
        use v1::{SensorContext as C, SensorUnit as U};
        let sensors = vec![
            placed("cpu", sensor("cpu0_temp", C::Temperature, U::Celsius, 41.5)),
            sensor("p12v", C::Voltage, U::Volts, 12.1),
            sensor("psu0_iout", C::Current, U::Amps, 3.0),
            sensor("fan0", C::Tach, U::Rpm, 4200.0),
            placed("chassis", sensor("psu0_pin", C::Power, U::Watts, 120.0)),
            sensor("energy", C::Energy, U::Joules, 1.0),
            sensor("pressure", C::Pressure, U::Pascals, 100.0),
            sensor("humidity", C::Humidity, U::Percent, 40.0),
            sensor("altitude", C::Altitude, U::Meters, 100.0),
            sensor("flow", C::FlowRate, U::LitersPerMinute, 2.0),
            sensor("percent", C::Percent, U::Percent, 2.0),
            sensor("frequency", C::Frequency, U::Hertz, 50.0),
            v1::Sensor {
                quality: v1::SensorQuality::Stale.into(),
                ..sensor("dimm0_temp", C::Temperature, U::Celsius, 77.0)
            },
            v1::Sensor { reading: None, ..sensor("psu0_present", C::Presence, U::Unspecified, 0.0) },
        ];
        self.say("rpc.SensorService.ListSensors", &v1::ListSensorsResponse { sensors, ..Default::default() });
        let fan = |name: &str, rpm: Option<f64>| v1::CoolingDevice {
            name: name.into(),
            status: v1::CoolingDeviceStatus::Enabled.into(),
            cooling_power_percent: Some(35.0),
            speed_rpm: rpm,
            ..v1::CoolingDevice::default()
        };
        self.say(
            "rpc.ThermalService.ListCoolingDevices",
            &v1::ListCoolingDevicesResponse {
                cooling_devices: vec![fan("fan0", Some(4200.4)), fan("fan1", None)],
            },
        );
        let zones = v1::ListThermalZonesResponse { thermal_zones: vec![zone()], ..Default::default() };
        self.say("rpc.ThermalService.ListThermalZones", &zones);
        use v1::AssetType as T;
        let absent = v1::Asset { present: false, ..asset("psu1", T::PowerSupply, "", &[]) };
        let assets = vec![
            asset("platform", T::System, "", &[]),
            asset("chassis-fru", T::Chassis, "", &[]),
            made(asset("mainboard", T::Board, "", &[])),
            asset("psu0", T::PowerSupply, "", &[("capacity_watts", "750")]),
            absent,
            asset("system-system", T::System, "system", &[]),
            asset("system-firmware", T::Firmware, "system", &[]),
            asset(
                "system-cpu0",
                T::Processor,
                "system",
                &[
                    ("cores", "8"),
                    ("threads", "16"),
                    ("max_mhz", "3000"),
                    ("architecture", "x86"),
                    ("instruction_set", "x86-64"),
                ],
            ),
            asset(
                "system-dimm0",
                T::Memory,
                "system",
                &[("size_mib", "16384"), ("speed_mts", "3200"), ("bank", "A")],
            ),
            with_mac(asset(
                "system-nic0",
                T::NetworkInterface,
                "system",
                &[("enabled", "true"), ("address", "0000:21:00.1")],
            )),
            asset("system-slot1", T::Slot, "system", &[("in_use", "false"), ("address", "0000:22:00.0")]),
            v1::Asset {
                source: v1::AssetSource::Nvme.into(),
                ..asset("nvme0", T::Drive, "", &[("used_percent", "12"), ("warnings", "read only")])
            },
            asset("system-drive0", T::Drive, "system", &[("address", "0000:41:00.0")]),
        ];
        self.say("rpc.AssetService.ListAssets", &v1::ListAssetsResponse { assets });
        self.say("rpc.NetworkService.ListNetworkInterfaces", &network());
        let ipmi = v1::Ipmi { enabled: true, listening: true, port: 623, ..v1::Ipmi::default() };
        self.say("rpc.IpmiService.GetIpmi", &v1::GetIpmiResponse { ipmi: Some(ipmi) });
        let ssh = v1::Ssh { enabled: true, listening: true, port: 2200, ..v1::Ssh::default() };
        self.say("rpc.SshService.GetSsh", &v1::GetSshResponse { ssh: Some(ssh) });
        let vnc = v1::Vnc { enabled: true, listening: true, port: 5900, ..v1::Vnc::default() };
        self.say("rpc.VncService.GetVnc", &v1::GetVncResponse { vnc: Some(vnc) });
        let redirect =
            Some(v1::Redirect { enabled: true, listening: true, port: 80, ..v1::Redirect::default() });
        self.say("rpc.RedirectService.GetRedirect", &v1::GetRedirectResponse { redirect });
        let media_switch = Some(v1::MediaSwitch { enabled: true, ..v1::MediaSwitch::default() });
        self.say("rpc.MediaService.GetMediaSwitch", &v1::GetMediaSwitchResponse { media_switch });
        self.say(
            "rpc.IpmiService.GetHostWatchdog",
            &v1::GetHostWatchdogResponse { watchdog: Some(watchdog()) },
        );
        self.say(
            "rpc.CertificateService.GetCertificate",
            &v1::GetCertificateResponse { certificate: Some(certificate()) },
        );
        let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let policy = v1::AccountPolicy {
            min_password_length: 8,
            max_password_length: 128,
            max_password_age_days: 90,
            lockout_threshold: 5,
            lockout_max_delay: span(900),
            lockout_forget_after: span(900),
            session_idle: span(1800),
            ..Default::default()
        };
        self.say("rpc.UserService.GetAccountPolicy", &v1::GetAccountPolicyResponse { policy: Some(policy) });
        let role = |role: auth::Role| v1::Role {
            id: role.name().to_owned(),
            description: "a role".into(),
            privileges: (1..=6).collect(),
            predefined: true,
        };
        let mut roles =
            [auth::Role::Administrator, auth::Role::Operator, auth::Role::ReadOnly].map(role).to_vec();
        roles.push(v1::Role {
            id: "night".into(),
            description: "power only".into(),
            privileges: vec![2, 4, 7],
            predefined: false,
        });
        self.say("rpc.RoleService.ListRoles", &v1::ListRolesResponse { roles });
        let users = [
            ("admin", auth::Role::Administrator),
            ("olga", auth::Role::Operator),
            ("rita", auth::Role::ReadOnly),
        ];
        let all = users.map(|(name, role)| user(name, role)).to_vec();
        let own = all.iter().find(|user| user.username == self.asker.username).cloned();
        self.say("rpc.UserService.ListUsers", &v1::ListUsersResponse { users: all, ..Default::default() });
        self.say("rpc.UserService.GetUser", &v1::GetUserResponse { user: own });
        let sessions = users.map(|(name, role)| session(name, role)).to_vec();
        let own =
            sessions.iter().filter(|session| session.username == self.asker.username).cloned().collect();
        let seen = if self.asker.privileges.has(Privileges::CONFIGURE_USERS) { sessions } else { own };
        self.say("rpc.SessionService.ListSessions", &v1::ListSessionsResponse { sessions: seen.clone() });
        let own = seen.into_iter().find(|session| session.id == self.asker.session_id);
        self.say("rpc.SessionService.GetSession", &v1::GetSessionResponse { session: own });
        let event = |id: &str, severity: v1::EventSeverity, domain: &str, component: &str| v1::Event {
            id: id.into(),
            time: time(1_790_000_000),
            domain: domain.into(),
            component: component.into(),
            what: "state".into(),
            severity: severity.into(),
            message: "it happened".into(),
            source: "statemgr".into(),
            ..v1::Event::default()
        };
        let events = vec![
            event("ev2", v1::EventSeverity::Critical, "sensor", "cpu0_temp"),
            v1::Event {
                principal: Some("olga".into()),
                payload: Some(v1::event::Payload::PowerOperationResult(v1::PowerOperationResult {
                    component_name: "system".into(),
                    operation_id: "op-1".into(),
                    action: v1::HostAction::On.into(),
                    result: v1::OperationResult::Done.into(),
                    completed_at: time(1_790_000_000),
                    duration: Some(prost_types::Duration { seconds: 3, nanos: 0 }),
                    ..Default::default()
                })),
                ..event("ev1", v1::EventSeverity::Info, "host", "system")
            },
        ];
        self.say(
            "rpc.EventService.ListEventSubscriptions",
            &v1::ListEventSubscriptionsResponse {
                subscriptions: vec![subscription("sub-1", v1::EventSubscriptionState::Active)],
                retry_attempts: 3,
                retry_interval_ms: 30_000,
                report_interval_ms: 60_000,
            },
        );
        let line = |text: &str| v1::ConsoleLogLine { time: time(1_790_000_001), text: text.into() };
        let lines = vec![line("one"), line("two")];
        self.say("rpc.ConsoleService.ListConsoleLog", &v1::ListConsoleLogResponse { lines });
        let history = v1::GetSensorHistoryResponse {
            id: "cpu0_temp".into(),
            start: time(1_790_000_000),
            step: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            means: vec![41.5, f32::NAN, 42.0],
            minima: vec![41.0, f32::NAN, 39.5],
            maxima: vec![43.0, 44.5, f32::NAN],
            ..Default::default()
        };
        self.say("rpc.SensorService.GetSensorHistory", &history);
        let quiet = v1::ReportDefinition {
            id: "quiet".into(),
            name: "Nothing now".into(),
            r#type: v1::ReportDefinitionType::OnRequest.into(),
            interval_ms: 0,
            enabled: Some(false),
            ..definition()
        };
        let definitions = v1::ListReportDefinitionsResponse {
            definitions: vec![definition(), quiet],
            least_interval_ms: 10_000,
        };
        self.say("rpc.TelemetryService.ListReportDefinitions", &definitions);
        let triggers = v1::ListTriggersResponse { triggers: vec![trigger()] };
        self.say("rpc.TelemetryService.ListTriggers", &triggers);
        self.say("rpc.EventService.ListEvents", &v1::ListEventsResponse { events, ..Default::default() });
    }

    pub fn about(&self) -> About {
        About {
            now: 1_790_000_100,
            https_port: 443,
            vnc_port: 5900,
            basic: true,
            host_name: "bmc.example".into(),
            streams: vec![redfish::StreamOpen {
                id: "7".into(),
                username: "rita".into(),
                address: "192.0.2.1".into(),
                reports: false,
            }],
            collected: vec![
                redfish::Collected {
                    id: "collect-2".into(),
                    username: "admin".into(),
                    began: 1_790_000_090,
                    percent: 40,
                    ..Default::default()
                },
                redfish::Collected {
                    id: "collect-1".into(),
                    username: "admin".into(),
                    began: 1_790_000_000,
                    ended: Some(1_790_000_002),
                    percent: 100,
                    bytes: Some(4711),
                },
            ],
            uuid: "92384634-2938-2342-8820-489239905423".into(),
            rollup: self.rollup.clone(),
            asker: self.asker.clone(),
            names: Vec::new(),
        }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::Get, path, "", Request::default())
    }

    /// The metric reports that are made of what the owners say.
    pub fn reports(&self) -> Vec<redfish::MetricReport> {
        let mut world = redfish::World::default();
        for need in [redfish::Need::Chassis, redfish::Need::Sensors] {
            let call = need.call(&self.about());
            let answer = self.answer(call.method.subject);
            world.fill(need, answer.as_deref().map_err(Clone::clone));
        }
        world.about.now = self.about().now;
        redfish::metric_reports(&world).unwrap()
    }

    /// The JSON at a path that is there.
    pub fn shown(&mut self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.value());
        answer.value().clone()
    }

    pub fn send(&mut self, method: Method, path: &str, body: &Value) -> Answer {
        self.ask(method, path, &body.to_string(), Request::default())
    }

    pub fn ask(&mut self, method: Method, path: &str, body: &str, mut request: Request) -> Answer {
        let path = match path.split_once('?') {
            Some((path, query)) => {
                request.query = query.to_owned();
                path
            }
            None => path,
        };
        let mut exchange = match Exchange::new(path, method, request, self.about()) {
            Ok(exchange) => exchange,
            Err(answer) => return answer,
        };
        exchange.set_body(body.as_bytes().to_vec());
        let mut step = exchange.step();
        for _ in 0..100 {
            step = match step {
                Step::Done(answer) => return answer,
                Step::Read(needs) => {
                    assert!(!needs.is_empty());
                    for need in needs {
                        let call = exchange.call_for(need);
                        let answer = self.read(&call);
                        self.asked.push(call);
                        exchange.filled(need, answer.as_deref().map_err(Clone::clone));
                    }
                    exchange.step()
                }
                Step::Collect => {
                    self.closed.push("collect".to_owned());
                    exchange.written(Ok(b"collect-2"))
                }
                Step::Close(id) => {
                    self.closed.push(id);
                    exchange.written(Ok(&[]))
                }
                Step::Write(call) => {
                    let answer = self.answer(call.method.subject);
                    if call.method.subject == "rpc.NetworkService.SetTime" && answer.is_ok() {
                        let request = v1::SetTimeRequest::decode(call.request.as_slice()).unwrap();
                        exchange.at(request.time.unwrap().seconds);
                    }
                    self.called.push(call);
                    exchange.written(answer.as_deref().map_err(Clone::clone))
                }
            };
        }
        panic!("{} {path} has no end", method.name());
    }

    /// What is answered to be shown. Of the firmware of each host another thing is, unless it is said or refused of all.
    fn read(&self, call: &Call) -> Result<Vec<u8>, Fault> {
        let subject = call.method.subject;
        if subject != "rpc.HostFirmwareService.GetHostFirmware" || self.answers.contains_key(subject) {
            return self.answer(subject);
        }
        let request = v1::GetHostFirmwareRequest::decode(call.request.as_slice()).unwrap();
        let firmware = self.firmware.iter().find(|firmware| firmware.host_name == request.host_name);
        let none =
            || Fault { reason: "NOT_REPORTED".into(), ..Fault::new(Code::NotFound, "it has not reported") };
        let firmware = Some(firmware.ok_or_else(none)?.clone());
        Ok(v1::GetHostFirmwareResponse { firmware }.encode_to_vec())
    }

    fn answer(&self, subject: &str) -> Result<Vec<u8>, Fault> {
        let known = self.answers.get(subject).cloned();
        known.unwrap_or_else(|| Err(Fault::new(Code::Unavailable, &format!("nobody answers {subject}"))))
    }
}

/// A path of a resource that is there, or, where there are some of each account, one that belongs to nobody who asks.
pub fn path(resource: &Resource) -> String {
    let mut names = match resource.type_name() {
        "ManagerAccount" => vec!["other"],
        "Session" => vec!["session-of-other"],
        "Role" => vec!["night"],
        "EventDestination" => vec!["7"],
        "SoftwareInventory" => vec!["bmc"],
        "Task" => vec!["op-1"],
        "MetricDefinition" | "MetricReport" => vec!["Temperature"],
        // Those of clients: the service's own cannot be changed.
        "MetricReportDefinition" | "Triggers" => vec!["hot"],
        "MessageRegistryFile" => vec!["Base"],
        "AttributeRegistry" => vec![REGISTRY],
        "JsonSchemaFile" => vec!["Chassis"],
        _ if resource.path.starts_with("Chassis") => vec!["chassis"],
        _ if resource.path.starts_with("Managers") => vec!["bmc"],
        _ => vec!["system"],
    };
    names.push(match resource.type_name() {
        "Sensor" => "cpu0_temp",
        "Fan" => "fan0",
        "Control" => "main",
        "PowerSupply" => "psu0",
        "LogService" if resource.path.starts_with("Managers") => "Diagnostics",
        "LogEntryCollection" | "LogEntry" if resource.path.starts_with("Managers") => "EventLog",
        "LogService" | "LogEntryCollection" | "LogEntry" => "SEL",
        "Processor" => "system-cpu0",
        "EthernetInterface" if resource.path.starts_with("Managers") => "eth0",
        "EthernetInterface" | "PCIeDevice" | "PCIeFunction" | "PCIeFunctionCollection" => "system-nic0",
        "Storage" => "drives",
        "Drive" => "nvme0",
        "VirtualMedia" => "cd",
        "Certificate" => "1",
        "BootOption" => "Boot0001",
        "AttributeRegistry" => REGISTRY,
        _ => "system-dimm0",
    });
    names.push(match resource.type_name() {
        "LogEntry" => "ev1",
        _ => "1",
    });
    let mut names = names.into_iter();
    let parts: Vec<&str> = resource
        .path
        .split('/')
        .map(|part| if part == "{}" { names.next().unwrap() } else { part })
        .collect();
    format!("/redfish/v1/{}", parts.join("/"))
}

/// The path of one that somebody else has, but that is there.
pub fn path_of_another(resource: &Resource) -> String {
    path(resource).replace("other", "olga").replace("Subscriptions/7", "Subscriptions/sub-1")
}

/// A value that a property takes.
pub fn fitting(property: &Property) -> Value {
    match (property.path, property.kind) {
        ("MessageId", _) => json!("UBmc.1.0.EventWarning"),
        ("MessageIds", _) => json!(["UBmc.1.0.EventWarning"]),
        ("RegistryPrefixes", _) => json!(["UBmc"]),
        ("EventTypes", _) => json!(["Alert"]),
        // That of the message above.
        ("Severity" | "MessageSeverity", _) => json!("Warning"),
        ("ResourceTypes", _) => json!(["ComputerSystem"]),
        // None: others are for subscriptions to reports only.
        ("MetricReportDefinitions", _) => json!([]),
        ("Metrics", _) => json!([{"MetricId": "Temperature"}]),
        ("MetricProperties", _) => json!(["/redfish/v1/Chassis/chassis/Sensors/cpu0_temp#/Reading"]),
        ("NumericThresholds", _) => json!({"UpperCritical": {"Reading": 90}}),
        ("Links/MetricReportDefinitions", _) => {
            json!([{"@odata.id": "/redfish/v1/TelemetryService/MetricReportDefinitions/hot"}])
        }
        ("CertificateCollection", _) => json!({"@odata.id": OF_HTTPS}),
        ("AssignedPrivileges", _) => json!(["Login", "ConfigureComponents"]),
        ("OemPrivileges", _) => json!(["ViewScreens"]),
        ("AccountTypes", _) => json!(["Redfish", "IPMI"]),
        ("AccountExpiration" | "DateTime", _) => json!("2040-01-01T00:00:00Z"),
        ("Country", _) => json!("XX"),
        ("Boot/BootNext", _) => json!("Boot0002"),
        ("Boot/BootOrder", _) => json!(["Boot0003", "Boot0001"]),
        ("CertificateUri", _) => json!({"@odata.id": format!("{OF_HTTPS}/1")}),
        ("Destination", _) => json!("https://collector.example/events"),
        (_, Kind::Ipv4(_)) => {
            json!([{"Address": "192.0.2.9", "SubnetMask": "255.255.255.0", "Gateway": "192.0.2.1"}])
        }
        (_, Kind::Bool) => json!(true),
        (_, Kind::Integer(from, _) | Kind::Decimal(from, _)) => json!(from),
        (_, Kind::IntegerOrText(_)) => json!(7),
        (_, Kind::Number) => json!(1.5),
        (_, Kind::Duration) => json!("PT30S"),
        (_, Kind::Enums(all)) => json!([all[0]]),
        (_, Kind::Object(_)) => json!({}),
        (_, Kind::Objects(..)) => json!([]),
        (_, Kind::Text(_)) => json!("text"),
        (_, Kind::Secret(_) | Kind::Pem(_)) => json!("secret-enough"),
        (_, Kind::Enum(all)) => json!(all[0]),
        (_, Kind::Texts(_)) => json!(["text"]),
        (_, Kind::Link) => json!({"@odata.id": "/redfish/v1/Systems/system"}),
        (_, Kind::Headers(_)) => json!([{"X-Token": "secret-enough"}]),
        (_, Kind::Links(_)) => json!([{"@odata.id": "/redfish/v1/Systems/system"}]),
        (_, Kind::Attributes) => json!({"Smt": "Disabled"}),
    }
}

/// `{"Boot": {"Target": value}}` for `Boot/Target`.
pub fn nested(path: &str, value: Value) -> Value {
    path.rsplit('/').fold(value, |inner, name| Value::Object(Map::from_iter([(name.to_owned(), inner)])))
}

/// A body that a method of a resource, or one of its actions, takes; an empty object where none is wanted.
pub fn fitting_body(resource: &Resource, method: Method, action: Option<&str>) -> Value {
    let wanted: Vec<&Property> = match (action, method) {
        (Some(name), _) => {
            let action = resource.actions.iter().find(|action| action.name == name).unwrap();
            action.parameters.iter().map(|parameter| &parameter.property).collect()
        }
        (None, Method::Patch) => resource.patch.iter().flat_map(|patch| patch.properties).take(1).collect(),
        (None, Method::Post) => {
            let all = resource.create.iter().flat_map(|create| create.properties);
            // A definition of reports has this or `MetricProperties`.
            let is_needed =
                |(property, required): &&(Property, bool)| *required || property.path == "Metrics";
            all.filter(is_needed).map(|(property, _)| property).collect()
        }
        _ => Vec::new(),
    };
    let mut body = json!({});
    for property in wanted {
        body.as_object_mut().unwrap().extend(match nested(property.path, fitting(property)) {
            Value::Object(map) => map,
            _ => Map::new(),
        });
    }
    body
}

/// Something that can be asked for.
pub struct Row {
    pub path: String,
    pub entity: &'static str,
    pub above: Vec<&'static str>,
    /// What it takes.
    pub methods: Vec<Method>,
    /// What takes no login, whatever the registry says (DSP0266, "Resource and operation authentication requirements").
    pub open: Vec<Method>,
    pub resource: Option<&'static Resource>,
    pub action: Option<&'static str>,
}

impl Row {
    /// A body that a method here takes.
    pub fn body(&self, method: Method) -> Value {
        self.resource.map_or(Value::Null, |resource| fitting_body(resource, method, self.action))
    }
}

const READS: [Method; 2] = [Method::Get, Method::Head];

/// The types on the way to a resource.
fn above(resource: &Resource) -> Vec<&'static str> {
    let parts: Vec<&str> = resource.path.split('/').collect();
    let prefixes = (1..parts.len()).map(|length| parts[..length].join("/"));
    let found = prefixes.filter_map(|prefix| resources::ALL.iter().find(|other| other.path == prefix));
    found.map(|found| found.type_name()).collect()
}

/// The table: what there is, from the list of resources.
pub fn rows() -> Vec<Row> {
    let fixed = |path: &str, entity, open: &[Method]| Row {
        path: path.to_owned(),
        entity,
        above: Vec::new(),
        methods: READS.to_vec(),
        open: open.to_vec(),
        resource: None,
        action: None,
    };
    let mut rows = vec![
        fixed("/redfish", "ServiceRoot", &Method::ALL),
        fixed("/redfish/v1/odata", "ServiceRoot", &Method::ALL),
        fixed("/redfish/v1/$metadata", "ServiceRoot", &Method::ALL),
    ];
    rows.push(fixed("/redfish/v1/TaskService/TaskMonitors/op-1", "Task", &[]));
    let push = fixed("/redfish/v1/UpdateService/update-multipart", "UpdateService", &[]);
    rows.push(Row { methods: vec![Method::Post], ..push });
    for registry in resources::REGISTRIES {
        let path = format!("/redfish/v1/Registries/{0}/{0}", registry.prefix);
        rows.push(fixed(&path, "MessageRegistry", &[]));
    }
    for resource in resources::ALL.iter().copied() {
        let path = path_of_another(resource);
        let row = |path: String, methods: &[Method], action| Row {
            path,
            entity: resource.type_name(),
            above: above(resource),
            methods: methods.to_vec(),
            open: match resource.type_name() {
                "ServiceRoot" => READS.to_vec(),
                "SessionCollection" => vec![Method::Post],
                _ => Vec::new(),
            },
            resource: Some(resource),
            action,
        };
        let mut methods = READS.to_vec();
        methods.extend(resource.patch.is_some().then_some(Method::Patch));
        methods.extend(resource.create.is_some().then_some(Method::Post));
        methods.extend(resource.delete.is_some().then_some(Method::Delete));
        if resource.create.is_some() {
            rows.push(row(format!("{path}/Members"), &[Method::Post], None));
        }
        for action in resource.actions {
            // Of the logs of a manager one collects and another can be cleared.
            let path = match action.name {
                "LogService.ClearLog" => path.replace("Diagnostics", "EventLog"),
                _ => path.clone(),
            };
            rows.push(row(format!("{path}/Actions/{}", action.name), &[Method::Post], Some(action.name)));
            if !action.parameters.is_empty() {
                let path = format!("{path}/{}ActionInfo", action.short());
                rows.push(Row { entity: "ActionInfo", ..row(path, &READS, None) });
            }
        }
        rows.push(row(path, &methods, None));
    }
    rows
}

/// The first message of an error.
pub fn said(answer: &Answer) -> String {
    let info = &answer.value()["error"]["@Message.ExtendedInfo"];
    let ids: Vec<&str> = info
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|message| message["MessageId"].as_str())
        .collect();
    ids.join(" ").replace("Base.1.22.", "")
}

/// Every link in a value.
pub fn links(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(uri)
                        if name == "@odata.id"
                            || name == "@Redfish.ActionInfo"
                            || name == "Uri"
                            || name == "DataSourceUri" =>
                    {
                        out.push(uri.clone())
                    }
                    other => links(other, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| links(value, out)),
        _ => {}
    }
}

/// Every path that can be reached from the root.
pub fn tree(bench: &mut Bench) -> Vec<(String, Value)> {
    let mut todo = vec!["/redfish/v1/".to_owned()];
    let mut seen: Vec<(String, Value)> = Vec::new();
    while let Some(path) = todo.pop() {
        if path.contains('#') || seen.iter().any(|(other, _)| *other == path) {
            continue;
        }
        let answer = bench.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.value());
        let value = answer.value().clone();
        links(&value, &mut todo);
        seen.push((path, value));
    }
    seen.sort_by(|(a, _), (b, _)| a.cmp(b));
    seen
}
