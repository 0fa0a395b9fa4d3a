//! What resources are made of: answers of the contract's owners, asked for by name and kept for one exchange.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use prost::Message as _;
use schema::rpc::{
    asset_service, certificate_service, chassis_service, console_service, event_service,
    host_firmware_service, host_service, ipmi_service, kvm_service, led_service,
    management_controller_service, media_service, network_service, redirect_service, role_service,
    sensor_service, session_service, ssh_service, system_service, telemetry_service, thermal_service,
    user_service, vnc_service,
};
use schema::v1alpha1 as v1;
use schema::{Code, Method, MethodInfo};

use crate::fault::Fault;
use crate::index::Indexes;
use crate::privilege::{Asker, Privileges};
use crate::rollup::Rollup;

/// What the names of reports of histories begin with; what follows is the sensor.
pub(crate) const HISTORY: &str = "history-";

/// What the names of registries of attributes begin with; what follows is the system.
pub(crate) const ATTRIBUTE_REGISTRY: &str = "BiosAttributeRegistry.";

/// Longest name of a machine, bytes, that its owner can be asked for (`GetHostFirmwareRequest.host_name`).
const HOST_NAME_MAX: usize = 64;

/// The sensor whose history a report of that name is; empty for another report.
pub(crate) fn of_history(report: &str) -> &str {
    report.strip_prefix(HISTORY).unwrap_or_default()
}

/// A call of the contract.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub method: &'static MethodInfo,
    /// The encoded request.
    pub request: Vec<u8>,
}

impl Call {
    /// A call of `method`.
    #[must_use]
    pub fn new<Req: prost::Message, Resp>(method: Method<Req, Resp>, request: &Req) -> Self {
        Self { method: method.info, request: request.encode_to_vec() }
    }
}

/// Without the request: it may hold a password.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(&self.method.full_name).finish()
    }
}

/// An answer of an owner, or that there is none.
#[derive(Clone, Debug, Default)]
enum Part<T> {
    /// Nobody has asked yet.
    #[default]
    Unasked,
    Known(Result<Arc<T>, Fault>),
}

macro_rules! needs {
    ($($(#[$doc:meta])* $need:ident $field:ident: $answer:ty = |$about:ident| $call:expr;)+) => {
        /// Something that is asked of its owner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Need { $($(#[$doc])* $need),+ }

        impl Need {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$need),+];

            /// How it is asked for by this caller, for this request.
            #[must_use]
            pub fn call(self, about: &About) -> Call {
                match self { $(Self::$need => { let $about = about; $call })+ }
            }
        }

        /// An answer that somebody has in memory, and others share.
        #[derive(Clone, Debug)]
        pub enum Supply { $($(#[$doc])* $need(Arc<$answer>)),+ }

        impl Supply {
            /// What it answers.
            #[must_use]
            pub fn need(&self) -> Need {
                match self { $(Self::$need(_) => Need::$need),+ }
            }
        }

        /// What is known in one exchange.
        #[derive(Debug, Default)]
        pub struct World {
            $($field: Part<$answer>,)+
            /// What was looked for and has not been asked yet.
            missing: RefCell<Vec<Need>>,
            /// Logs that were put together of it.
            pub(crate) indexes: Indexes,
            /// What the service knows of itself.
            pub about: About,
        }

        impl World {
            $($(#[$doc])*
            /// # Errors
            /// What its owner, or the lack of one, said.
            pub fn $field(&self) -> Result<&$answer, Fault> {
                match &self.$field {
                    Part::Unasked => Err(self.miss(Need::$need)),
                    Part::Known(Ok(answer)) => Ok(answer),
                    Part::Known(Err(fault)) => Err(fault.clone()),
                }
            })+

            /// Takes in an answer.
            pub fn fill(&mut self, need: Need, answer: Result<&[u8], Fault>) {
                self.indexes.clear();
                match need {
                    $(Need::$need => {
                        let decoded = answer.and_then(|bytes| {
                            <$answer>::decode(bytes).map(Arc::new).map_err(|error| {
                                Fault::new(Code::Internal, &format!("{need:?} came as bytes that are no answer: {error}"))
                            })
                        });
                        self.$field = Part::Known(decoded);
                    })+
                }
            }

            /// Takes in an answer that was in memory.
            pub fn supply(&mut self, supply: Supply) {
                self.indexes.clear();
                match supply { $(Supply::$need(answer) => self.$field = Part::Known(Ok(answer)),)+ }
            }

            /// Forgets an answer, as something was changed.
            pub(crate) fn forget(&mut self, need: Need) {
                self.indexes.clear();
                match need { $(Need::$need => self.$field = Part::Unasked,)+ }
            }
        }
    };
}

needs! {
    /// The machines.
    Hosts hosts: v1::ListHostsResponse = |_about| Call::new(host_service::LIST_HOSTS, &v1::ListHostsRequest::default());
    /// The boxes.
    Chassis chassis: v1::ListChassisResponse = |_about| Call::new(chassis_service::LIST_CHASSIS, &v1::ListChassisRequest::default());
    /// The controllers.
    Controllers controllers: v1::ListManagementControllersResponse = |_about| Call::new(
        management_controller_service::LIST_MANAGEMENT_CONTROLLERS,
        &v1::ListManagementControllersRequest::default(),
    );
    /// The serial consoles.
    Consoles consoles: v1::ListConsolesResponse = |_about| Call::new(console_service::LIST_CONSOLES, &v1::ListConsolesRequest::default());
    /// The drives whose medium comes from elsewhere.
    Media media: v1::ListMediaResponse = |_about| Call::new(media_service::LIST_MEDIA, &v1::ListMediaRequest::default());
    /// The screens.
    Screens screens: v1::ListScreensResponse = |_about| Call::new(kvm_service::LIST_SCREENS, &v1::ListScreensRequest::default());
    /// What this installation is.
    System system: v1::GetSystemInfoResponse = |_about| Call::new(system_service::GET_SYSTEM_INFO, &v1::GetSystemInfoRequest::default());
    /// The sensors.
    Sensors sensors: v1::ListSensorsResponse = |_about| Call::new(sensor_service::LIST_SENSORS, &v1::ListSensorsRequest::default());
    /// The fans.
    Fans fans: v1::ListCoolingDevicesResponse = |_about| Call::new(
        thermal_service::LIST_COOLING_DEVICES,
        &v1::ListCoolingDevicesRequest::default(),
    );
    /// What is cooled together.
    Zones zones: v1::ListThermalZonesResponse = |_about| Call::new(
        thermal_service::LIST_THERMAL_ZONES,
        &v1::ListThermalZonesRequest::default(),
    );
    /// The controller's own network.
    Network network: v1::ListNetworkInterfacesResponse = |_about| Call::new(
        network_service::LIST_NETWORK_INTERFACES,
        &v1::ListNetworkInterfacesRequest::default(),
    );
    /// IPMI over LAN.
    Ipmi ipmi: v1::GetIpmiResponse = |_asker| Call::new(ipmi_service::GET_IPMI, &v1::GetIpmiRequest::default());
    /// Consoles over SSH.
    Ssh ssh: v1::GetSshResponse = |_asker| Call::new(ssh_service::GET_SSH, &v1::GetSshRequest::default());
    /// The port of viewers of screens.
    Vnc vnc: v1::GetVncResponse = |_asker| Call::new(vnc_service::GET_VNC, &v1::GetVncRequest::default());
    /// The port of plain HTTP, which leads to HTTPS.
    Redirect redirect: v1::GetRedirectResponse = |_asker| Call::new(
        redirect_service::GET_REDIRECT,
        &v1::GetRedirectRequest::default(),
    );
    /// Whether anything may be inserted into the drives.
    MediaSwitch media_switch: v1::GetMediaSwitchResponse = |_asker| Call::new(
        media_service::GET_MEDIA_SWITCH,
        &v1::GetMediaSwitchRequest::default(),
    );
    /// The watchdog timer of a machine.
    Watchdog watchdog: v1::GetHostWatchdogResponse = |_about| Call::new(
        ipmi_service::GET_HOST_WATCHDOG,
        &v1::GetHostWatchdogRequest::default(),
    );
    /// The certificate of HTTPS.
    Certificate certificate: v1::GetCertificateResponse = |_about| Call::new(
        certificate_service::GET_CERTIFICATE,
        &v1::GetCertificateRequest::default(),
    );
    /// The lights.
    Leds leds: v1::ListLedsResponse = |_about| Call::new(led_service::LIST_LEDS, &v1::ListLedsRequest::default());
    /// The parts.
    Assets assets: v1::ListAssetsResponse = |_about| Call::new(asset_service::LIST_ASSETS, &v1::ListAssetsRequest::default());
    /// The roles.
    Roles roles: v1::ListRolesResponse = |_about| Call::new(role_service::LIST_ROLES, &v1::ListRolesRequest::default());
    /// What passwords and logins are held to.
    Policy policy: v1::GetAccountPolicyResponse = |_about| Call::new(
        user_service::GET_ACCOUNT_POLICY,
        &v1::GetAccountPolicyRequest::default(),
    );
    /// All accounts; only for who manages them.
    Users users: v1::ListUsersResponse = |_about| Call::new(user_service::LIST_USERS, &v1::ListUsersRequest::default());
    /// The caller's own account.
    Own own: v1::GetUserResponse = |about| Call::new(
        user_service::GET_USER,
        &v1::GetUserRequest { id: about.asker.user_id.clone(), ..v1::GetUserRequest::default() },
    );
    /// The sessions the caller may see: all, or its account's.
    Sessions sessions: v1::ListSessionsResponse = |about| Call::new(session_service::LIST_SESSIONS, &v1::ListSessionsRequest {
        username: if about.asker.privileges.has(Privileges::CONFIGURE_USERS) { String::new() } else { about.asker.user_id.clone() },
        ..v1::ListSessionsRequest::default()
    });
    /// The caller's own session.
    Session session: v1::GetSessionResponse = |about| Call::new(
        session_service::GET_SESSION,
        &v1::GetSessionRequest { id: about.asker.session_id.clone(), ..v1::GetSessionRequest::default() },
    );
    /// The newest events.
    Events events: v1::ListEventsResponse = |_about| Call::new(
        event_service::LIST_EVENTS,
        // What no log shows would take the room of what one does.
        &v1::ListEventsRequest { page_size: 1000, logged: true, ..v1::ListEventsRequest::default() },
    );
    /// The newest records of requests.
    Audit audit: v1::ListEventsResponse = |_about| Call::new(
        event_service::LIST_EVENTS,
        &v1::ListEventsRequest { domain: "audit".to_owned(), page_size: 1000, ..v1::ListEventsRequest::default() },
    );
    /// The log of the console of the host that the path names.
    ConsoleLog console_log: v1::ListConsoleLogResponse = |about| Call::new(
        console_service::LIST_CONSOLE_LOG,
        &v1::ListConsoleLogRequest { name: about.focus().to_owned(), page_size: 1000, since: None },
    );
    /// The last hour of the sensor whose history the path names.
    History history: v1::GetSensorHistoryResponse = |about| Call::new(
        sensor_service::GET_SENSOR_HISTORY,
        &v1::GetSensorHistoryRequest { id: of_history(about.focus()).to_owned(), span: v1::SensorHistorySpan::Hour.into(), since: None },
    );
    /// The last day of that sensor.
    Day day: v1::GetSensorHistoryResponse = |about| Call::new(
        sensor_service::GET_SENSOR_HISTORY,
        &v1::GetSensorHistoryRequest { id: of_history(about.focus()).to_owned(), span: v1::SensorHistorySpan::Day.into(), since: None },
    );
    /// Where events are sent, as far as the caller may see it.
    Subscriptions subscriptions: v1::ListEventSubscriptionsResponse = |_about| Call::new(
        event_service::LIST_EVENT_SUBSCRIPTIONS,
        &v1::ListEventSubscriptionsRequest::default(),
    );
    /// What the firmware of the machine that the path names lets be set.
    Firmware firmware: v1::GetHostFirmwareResponse = |about| Call::new(
        host_firmware_service::GET_HOST_FIRMWARE,
        &v1::GetHostFirmwareRequest { host_name: about.firmware_focus().to_owned() },
    );
    /// The metric reports that clients have defined.
    ReportDefinitions report_definitions: v1::ListReportDefinitionsResponse = |_about| Call::new(
        telemetry_service::LIST_REPORT_DEFINITIONS,
        &v1::ListReportDefinitionsRequest::default(),
    );
    /// The triggers that clients have made.
    Triggers triggers: v1::ListTriggersResponse = |_about| Call::new(
        telemetry_service::LIST_TRIGGERS,
        &v1::ListTriggersRequest::default(),
    );
}

/// A stream of events that is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOpen {
    /// Its name among them.
    pub id: String,
    /// Name of the account it is shown to.
    pub username: String,
    /// Where that is.
    pub address: String,
    /// Whether metric reports are all that it may show.
    pub reports: bool,
}

/// Diagnostic data that is, or was, collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Its name, as a task and as an entry of a log.
    pub id: String,
    /// Name of the account that asked for it.
    pub username: String,
    /// Seconds since 1970.
    pub began: i64,
    /// The same; `None` while it goes on.
    pub ended: Option<i64>,
    /// How much of it is done, percent.
    pub percent: u8,
    /// Bytes of the archive; `None` where there is none (yet).
    pub bytes: Option<u64>,
}

/// What the service knows of itself and of the request, without asking anybody.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Seconds since 1970.
    pub now: i64,
    /// The port of HTTPS; 0 when it is not known.
    pub https_port: u16,
    /// The port of viewers of screens by RFB; 0 when there is none.
    pub vnc_port: u16,
    /// Whether HTTP Basic is taken.
    pub basic: bool,
    /// The name of the controller; empty when it is not known.
    pub host_name: String,
    /// The streams of events that are open.
    pub streams: Vec<StreamOpen>,
    /// Diagnostic data that was asked for, the last first.
    pub collected: Vec<Collected>,
    /// Identity of this installation, a UUID; empty when it is not known.
    pub uuid: String,
    /// How what is measured and what cools is; `None` while that is not known.
    pub rollup: Option<Arc<Rollup>>,
    /// Who asks; nobody in particular while nobody is logged in.
    pub asker: Asker,
    /// The names in the path of the request.
    pub names: Vec<String>,
}

impl About {
    /// The first name in the path of the request: what there is one question about each of is asked for that one only.
    pub(crate) fn focus(&self) -> &str {
        self.names.first().map(String::as_str).unwrap_or_default()
    }

    /// The machine whose firmware is asked for: that in the path, or that whose registry of attributes is.
    fn firmware_focus(&self) -> &str {
        let focus = self.focus();
        focus.strip_prefix(ATTRIBUTE_REGISTRY).unwrap_or(focus)
    }
}

impl World {
    /// Remembers that something is wanted. What is shown meanwhile is thrown away, so any fault will do.
    fn miss(&self, need: Need) -> Fault {
        if let Ok(mut missing) = self.missing.try_borrow_mut()
            && !missing.contains(&need)
        {
            missing.push(need);
        }
        Fault::new(Code::Unavailable, "not asked yet")
    }

    /// What was looked for since the last time and has not been asked.
    pub(crate) fn take_missing(&self) -> Vec<Need> {
        self.missing.try_borrow_mut().map(|mut missing| std::mem::take(&mut *missing)).unwrap_or_default()
    }

    /// The machine of that name.
    ///
    /// # Errors
    /// As [`Self::hosts`].
    pub fn host(&self, name: &str) -> Result<Option<&v1::Host>, Fault> {
        Ok(self.hosts()?.hosts.iter().find(|host| host.name == name))
    }

    /// What the firmware of the machine of that name lets be set; `None` where there is no such machine, nothing leads to its firmware, or that has not
    /// reported.
    ///
    /// # Errors
    /// As [`Self::firmware`]: while nobody knows what there is, it is not there for a while only. And where the path names another machine.
    pub fn firmware_of(&self, host: &str) -> Result<Option<&v1::HostFirmware>, Fault> {
        // One machine's is asked for, as the reports of all may be more than an answer carries: who wants those of several asks for each.
        if self.about.firmware_focus() != host {
            return Err(Fault::new(Code::InvalidArgument, "the firmware of a system is shown by itself"));
        }
        if host.is_empty() || host.len() > HOST_NAME_MAX {
            return Ok(None);
        }
        match self.firmware() {
            Ok(answer) => Ok(answer.firmware.as_ref().filter(|firmware| firmware.host_name == host)),
            Err(fault) if fault.code == Code::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The box of that name.
    ///
    /// # Errors
    /// As [`Self::chassis`].
    pub fn one_chassis(&self, name: &str) -> Result<Option<&v1::Chassis>, Fault> {
        Ok(self.chassis()?.chassis.iter().find(|chassis| chassis.name == name))
    }

    /// The controller of that name.
    ///
    /// # Errors
    /// As [`Self::controllers`].
    pub fn controller(&self, name: &str) -> Result<Option<&v1::ManagementController>, Fault> {
        Ok(self.controllers()?.controllers.iter().find(|controller| controller.name == name))
    }

    /// The parts of a kind that are there.
    ///
    /// # Errors
    /// As [`Self::assets`].
    pub fn parts(&self, kind: v1::AssetType) -> Result<Vec<&v1::Asset>, Fault> {
        Ok(self.assets()?.assets.iter().filter(|asset| asset.r#type() == kind && asset.present).collect())
    }

    /// The accounts the caller may see: all, or its own.
    ///
    /// # Errors
    /// As [`Self::users`] and [`Self::own`].
    pub fn accounts(&self) -> Result<Vec<&v1::User>, Fault> {
        if self.about.asker.privileges.has(Privileges::CONFIGURE_USERS)
            && !self.about.asker.password_change_required
        {
            return Ok(self.users()?.users.iter().collect());
        }
        Ok(self.own()?.user.iter().collect())
    }

    /// The sessions the caller may see.
    ///
    /// # Errors
    /// As [`Self::sessions`] and [`Self::session`].
    pub fn open_sessions(&self) -> Result<Vec<&v1::Session>, Fault> {
        if self.about.asker.password_change_required {
            return Ok(if self.about.asker.session_id.is_empty() {
                Vec::new()
            } else {
                self.session()?.session.iter().collect()
            });
        }
        Ok(self.sessions()?.sessions.iter().collect())
    }
}
