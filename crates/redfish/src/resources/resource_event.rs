//! What happened, as a message of DMTF's registry `ResourceEvent`: which events that registry has a message for, and about which resource.
//!
//! ```text
//!  state of a machine, a box, the manager ──► power, state or health became another
//!  accounts, roles, sessions, parts ────────► created, changed, removed
//!  thresholds of sensors ───────────────────► exceeded, cleared
//!  a test event ────────────────────────────► test
//! ```
//!
//! Nothing is asked: a message says what the event says.

use schema::v1alpha1 as v1;
use v1::event::Payload;

use crate::Message;
use crate::message::{Severity, Template, key, resource_event as registry};

use super::origin::{Origin, about};
use super::{condition, is_path_name, sensors, storage};

/// An event in the words of `ResourceEvent`.
#[derive(Debug)]
pub(super) struct Told {
    /// The words.
    pub(super) message: Message,
    /// Whether they are all that is to be said. The words of the event itself say more otherwise: why, or by whom.
    pub(super) says_all: bool,
    /// The resource it is about; of one that was removed where it was. A test is about none.
    pub(super) about: Option<Origin>,
}

impl Told {
    fn new(message: Message, says_all: bool, about: Option<Origin>) -> Option<Self> {
        about.is_some().then_some(Self { message, says_all, about })
    }
}

/// The messages of `ResourceEvent` that events are sent as.
pub(super) static SENT: &[&Template] = &[
    &registry::RESOURCE_CREATED,
    &registry::RESOURCE_REMOVED,
    &registry::RESOURCE_CHANGED,
    &registry::RESOURCE_STATE_CHANGED,
    &registry::RESOURCE_STATUS_CHANGED_OK,
    &registry::RESOURCE_STATUS_CHANGED_WARNING,
    &registry::RESOURCE_STATUS_CHANGED_CRITICAL,
    &registry::RESOURCE_POWERED_ON,
    &registry::RESOURCE_POWERING_ON,
    &registry::RESOURCE_POWERED_OFF,
    &registry::RESOURCE_POWERING_OFF,
    &registry::RESOURCE_WARNING_THRESHOLD_EXCEEDED,
    &registry::RESOURCE_WARNING_THRESHOLD_CLEARED,
    &registry::RESOURCE_ERROR_THRESHOLD_EXCEEDED,
    &registry::RESOURCE_ERROR_THRESHOLD_CLEARED,
    &registry::TEST_MESSAGE,
];

/// Those of them whose second argument is a number, a threshold.
static OF_THRESHOLDS: [&Template; 4] = [
    &registry::RESOURCE_WARNING_THRESHOLD_EXCEEDED,
    &registry::RESOURCE_WARNING_THRESHOLD_CLEARED,
    &registry::RESOURCE_ERROR_THRESHOLD_EXCEEDED,
    &registry::RESOURCE_ERROR_THRESHOLD_CLEARED,
];

/// Why there is no test event of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTest {
    /// No event is sent as that message of `ResourceEvent`.
    Message,
    /// The message has so many arguments, others than were given.
    Args(usize),
    /// The argument at this place, from 0, is no number.
    Number(usize),
}

impl std::fmt::Display for NoTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message => f.write_str("no event is sent as that message of the registry ResourceEvent"),
            Self::Args(0) => f.write_str("the message has no arguments"),
            Self::Args(1) => f.write_str("the message has one argument"),
            Self::Args(count) => write!(f, "the message has {count} arguments"),
            Self::Number(nth) => write!(f, "argument {} of the message is a number", nth + 1),
        }
    }
}

/// The message of that id, its version disregarded, if events are sent as it.
fn named(id: &str) -> Option<&'static Template> {
    let wanted = key(id)?;
    SENT.iter().copied().find(|template| key(template.id) == Some(wanted))
}

/// Whether events are sent as the message of that id, its version disregarded.
pub(super) fn is_sent(id: &str) -> bool {
    named(id).is_some()
}

/// The message of that id, its version disregarded, with these arguments, as a test event is sent.
fn tested(id: &str, args: &[String]) -> Result<Message, NoTest> {
    let template = named(id).ok_or(NoTest::Message)?;
    if args.len() != template.args {
        return Err(NoTest::Args(template.args));
    }
    let is_number = |text: &String| text.parse::<f64>().is_ok_and(f64::is_finite);
    if OF_THRESHOLDS.iter().any(|other| other.id == template.id) && !args.get(1).is_some_and(is_number) {
        return Err(NoTest::Number(1));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(template.with(&args))
}

/// How bad a test event is that is sent as the message of `ResourceEvent` with that id, its version disregarded, and these arguments.
///
/// # Errors
/// [`NoTest`]
pub fn test_severity(message_id: &str, args: &[String]) -> Result<v1::EventSeverity, NoTest> {
    Ok(match tested(message_id, args)?.severity() {
        Severity::OK => v1::EventSeverity::Info,
        Severity::Warning => v1::EventSeverity::Warning,
        Severity::Critical => v1::EventSeverity::Critical,
    })
}

/// An event in the words of `ResourceEvent`; `None` where that has no message for it.
pub(super) fn told(event: &v1::Event) -> Option<Told> {
    let component = event.component.as_str();
    match (event.domain.as_str(), &event.payload) {
        ("host", Some(Payload::HostStateChange(change))) => {
            let how = |status| {
                let (state, health) = condition::host_state(status, change.cause());
                How { power: condition::host_power(status, change.cause()), state, health }
            };
            let message = became(component, how(change.previous_status()), how(change.current_status()))?;
            Told::new(message, true, about(event))
        }
        // Its light, and no status, was changed: the event says how.
        ("chassis", Some(Payload::ChassisStateChange(change)))
            if change.previous_status == change.current_status =>
        {
            Told::new(registry::RESOURCE_CHANGED.plain(), false, about(event))
        }
        ("chassis", Some(Payload::ChassisStateChange(change))) => {
            let how = |status| {
                let (state, health) = condition::chassis_state(status, change.cause());
                How { power: condition::chassis_power(status, change.cause()), state, health }
            };
            let message = became(component, how(change.previous_status()), how(change.current_status()))?;
            Told::new(message, true, about(event))
        }
        ("bmc", Some(Payload::ManagementControllerStateChange(change))) => {
            // Its power is on as long as it speaks, and its health is more than this status.
            let how = |status| How { power: None, state: condition::manager_state(status), health: None };
            let message = became(component, how(change.previous_status()), how(change.current_status()))?;
            Told::new(message, true, about(event))
        }
        ("sensor", Some(Payload::SensorThresholdCrossed(crossed))) => {
            // What is below its lower threshold has not exceeded it as people speak: the event says so.
            Told::new(threshold(crossed)?, crossed.side() == v1::ThresholdSide::Upper, about(event))
        }
        ("sensor", Some(Payload::SensorStateChange(change)))
            if change.quality() != v1::SensorQuality::Unspecified =>
        {
            let state = sensors::state_of(change.quality(), change.reason());
            let message = registry::RESOURCE_STATE_CHANGED.with(&[&change.id, state]);
            Told::new(message, true, about(event))
        }
        ("user", Some(Payload::UserChange(change))) => account(event, change),
        // What all accounts are held to.
        ("user", None) if component == "policy" => {
            Told::new(registry::RESOURCE_CHANGED.plain(), true, about(event))
        }
        ("role", None) => {
            let template = match event.what.as_str() {
                "created" => &registry::RESOURCE_CREATED,
                "updated" => &registry::RESOURCE_CHANGED,
                "deleted" => &registry::RESOURCE_REMOVED,
                _ => return None,
            };
            Told::new(template.plain(), true, below("Role", "AccountService/Roles", component))
        }
        ("session", Some(Payload::SessionChange(change))) => session(change),
        ("inventory", Some(Payload::AssetChange(change))) => part(change),
        // Which medium the event says.
        ("media", Some(Payload::MediaChange(change)))
            if matches!(change.kind(), v1::MediaChangeKind::Inserted | v1::MediaChangeKind::Ejected) =>
        {
            Told::new(registry::RESOURCE_CHANGED.plain(), false, about(event))
        }
        // Of a message that this release does not send it is told as others are.
        ("log", Some(Payload::TestEvent(test))) => {
            let message = tested(&test.message_id, &test.message_args).ok()?;
            Some(Told { message, says_all: true, about: None })
        }
        // Whoever asks for one without that names one of our messages, which is what others are sent.
        ("log", None) if component == "events" && event.what == "test" => {
            Some(Told { message: registry::TEST_MESSAGE.plain(), says_all: false, about: None })
        }
        _ => None,
    }
}

/// A resource by its name below a collection, if that can be a name in a path.
fn below(kind: &'static str, of: &str, id: &str) -> Option<Origin> {
    is_path_name(id).then(|| (kind, format!("/redfish/v1/{of}/{id}")))
}

/// How a resource is, in the words of its properties `PowerState` and `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct How {
    power: Option<&'static str>,
    state: &'static str,
    health: Option<&'static str>,
}

/// What is shown of a resource while nobody knows how it is.
const UNKNOWN: &str = "UnavailableOffline";

/// The message by which a resource becomes another than it was: of what became another the first of health, power and state. `None` where nothing did.
fn became(name: &str, was: How, is: How) -> Option<Message> {
    // What comes to be known has not become so just now; that it is bad is told all the same.
    let knew = was.state != UNKNOWN;
    let of_health = match is.health.filter(|health| was.health != is.health && (knew || *health != "OK")) {
        Some("OK") => Some(&registry::RESOURCE_STATUS_CHANGED_OK),
        Some("Warning") => Some(&registry::RESOURCE_STATUS_CHANGED_WARNING),
        Some("Critical") => Some(&registry::RESOURCE_STATUS_CHANGED_CRITICAL),
        _ => None,
    };
    if let (Some(template), Some(health)) = (of_health, is.health) {
        return Some(template.with(&[name, health]));
    }
    let of_power = match is.power.filter(|_| knew && was.power != is.power) {
        Some("On") => Some(&registry::RESOURCE_POWERED_ON),
        Some("PoweringOn") => Some(&registry::RESOURCE_POWERING_ON),
        Some("Off") => Some(&registry::RESOURCE_POWERED_OFF),
        Some("PoweringOff") => Some(&registry::RESOURCE_POWERING_OFF),
        _ => None,
    };
    if let Some(template) = of_power {
        return Some(template.with(&[name]));
    }
    (was.state != is.state).then(|| registry::RESOURCE_STATE_CHANGED.with(&[name, is.state]))
}

/// A threshold that was crossed, or left. What is fatal is an error as well; of a threshold whose value is not told there is no message.
fn threshold(crossed: &v1::SensorThresholdCrossed) -> Option<Message> {
    let value = crossed.threshold.filter(|value| value.is_finite())?;
    let template = match (crossed.level(), crossed.asserted) {
        (v1::ThresholdLevel::Unspecified, _) => return None,
        (v1::ThresholdLevel::Warning, true) => &registry::RESOURCE_WARNING_THRESHOLD_EXCEEDED,
        (v1::ThresholdLevel::Warning, false) => &registry::RESOURCE_WARNING_THRESHOLD_CLEARED,
        (v1::ThresholdLevel::Critical | v1::ThresholdLevel::Fatal, true) => {
            &registry::RESOURCE_ERROR_THRESHOLD_EXCEEDED
        }
        (v1::ThresholdLevel::Critical | v1::ThresholdLevel::Fatal, false) => {
            &registry::RESOURCE_ERROR_THRESHOLD_CLEARED
        }
    };
    Some(template.with(&["Reading", &value.to_string()]))
}

/// What became of an account. Why one is refused, or that its password is another, the event itself says.
fn account(event: &v1::Event, change: &v1::UserChange) -> Option<Told> {
    use v1::UserChangeKind as K;

    let (template, says_all) = match change.kind() {
        K::Created => (&registry::RESOURCE_CREATED, true),
        K::Updated => (&registry::RESOURCE_CHANGED, event.what == "updated"),
        K::Deleted => (&registry::RESOURCE_REMOVED, true),
        K::PasswordChanged | K::PasswordReset | K::Locked | K::Unlocked => {
            (&registry::RESOURCE_CHANGED, false)
        }
        // It is no account that anybody is shown.
        K::Unreadable | K::Unspecified => return None,
    };
    let about = below("ManagerAccount", "AccountService/Accounts", &change.username);
    Told::new(template.plain(), says_all, about)
}

/// What became of a session. Why one has ended that nobody has ended the event itself says; a login that failed has made none.
fn session(change: &v1::SessionChange) -> Option<Told> {
    use v1::SessionChangeKind as K;

    let (template, says_all) = match change.kind() {
        K::Created => (&registry::RESOURCE_CREATED, true),
        K::Deleted => (&registry::RESOURCE_REMOVED, true),
        K::Expired | K::Evicted | K::Revoked => (&registry::RESOURCE_REMOVED, false),
        K::LoginFailed | K::Unspecified => return None,
    };
    let about = below("Session", "SessionService/Sessions", &change.session_id);
    Told::new(template.plain(), says_all, about)
}

/// What became of a part that is a resource. Which one is gone or took its place, or what of it is another, the event itself says.
fn part(change: &v1::AssetChange) -> Option<Told> {
    use v1::AssetChangeType as K;

    let (template, says_all) = match change.r#type() {
        K::Added => (&registry::RESOURCE_CREATED, true),
        K::Removed => (&registry::RESOURCE_REMOVED, false),
        K::Replaced | K::Changed | K::Set => (&registry::RESOURCE_CHANGED, false),
        K::Unspecified => return None,
    };
    let id = change.asset_id.as_str();
    let of_host = |kind: &'static str, of: &str| {
        let host = Some(change.host_name.as_str()).filter(|host| is_path_name(host))?;
        below(kind, &format!("Systems/{host}/{of}"), id)
    };
    let about = match change.asset_type() {
        v1::AssetType::Processor => of_host("Processor", "Processors"),
        v1::AssetType::Memory => of_host("Memory", "Memory"),
        v1::AssetType::Drive => (is_path_name(&change.chassis_name) && is_path_name(id))
            .then(|| ("Drive", storage::uri(&change.chassis_name, id))),
        _ => None,
    };
    Told::new(template.plain(), says_all, about)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(subject: &str, payload: Option<Payload>) -> v1::Event {
        let mut parts = subject.split('.').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        let (domain, component, what) = (next(), next(), next());
        v1::Event { domain, component, what, payload, ..v1::Event::default() }
    }

    /// The key of the message, its arguments, whether it says all, and where the resource is.
    fn words(event: &v1::Event) -> Option<(String, Vec<String>, bool, String)> {
        let told = told(event)?;
        let json = told.message.to_json();
        let id = json["MessageId"].as_str().unwrap().strip_prefix("ResourceEvent.1.4.").unwrap().to_owned();
        assert!(SENT.iter().any(|template| template.id == told.message.id()), "{id}");
        let args = json["MessageArgs"].as_array().unwrap().iter();
        let args: Vec<String> = args.map(|arg| arg.as_str().unwrap().to_owned()).collect();
        // None of the holes of its text is left.
        assert!(!told.message.text().contains('%'), "{}", told.message.text());
        let uri = told.about.map(|(_, uri)| uri.strip_prefix("/redfish/v1/").unwrap().to_owned());
        Some((id, args, told.says_all, uri.unwrap_or_default()))
    }

    fn is(id: &str, args: &[&str], says_all: bool, uri: &str) -> Option<(String, Vec<String>, bool, String)> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Some((id.to_owned(), args, says_all, uri.to_owned()))
    }

    #[test]
    fn a_machine_that_becomes_another_is_told_by_its_health_its_power_or_its_state() {
        use v1::{HostAction as A, HostStatus as S};

        let of = |was: S, is: S, cause: A| {
            let change = v1::HostStateChange {
                host_name: "system".into(),
                previous_status: was.into(),
                current_status: is.into(),
                cause: cause.into(),
                ..v1::HostStateChange::default()
            };
            words(&event("host.system.state", Some(Payload::HostStateChange(change))))
        };
        let told = |id: &str, args: &[&str]| is(id, args, true, "Systems/system");
        let state = |state: &str| told("ResourceStateChanged", &["system", state]);
        for (was, is, cause, wanted) in [
            (S::Off, S::Transitioning, A::On, told("ResourcePoweringOn", &["system"])),
            (S::Transitioning, S::On, A::On, told("ResourcePoweredOn", &["system"])),
            // Nobody says which operation it was that ended.
            (S::Transitioning, S::On, A::Unspecified, told("ResourcePoweredOn", &["system"])),
            (S::On, S::Transitioning, A::Off, told("ResourcePoweringOff", &["system"])),
            (S::On, S::Transitioning, A::ForceOff, told("ResourcePoweringOff", &["system"])),
            (S::Transitioning, S::Off, A::ForceOff, told("ResourcePoweredOff", &["system"])),
            (S::On, S::Off, A::Unspecified, told("ResourcePoweredOff", &["system"])),
            // Its power stays on.
            (S::On, S::Transitioning, A::ForceRestart, state("Starting")),
            (S::Transitioning, S::On, A::ForceRestart, state("Enabled")),
            // Off first, then on: its power is not known meanwhile.
            (S::On, S::Transitioning, A::PowerCycle, state("Starting")),
            (S::On, S::Quiesced, A::Unspecified, state("Quiesced")),
            (S::On, S::Error, A::On, told("ResourceStatusChangedCritical", &["system", "Critical"])),
            (S::Error, S::Off, A::ForceOff, told("ResourceStatusChangedOK", &["system", "OK"])),
            // It is found so.
            (S::Unspecified, S::On, A::Unspecified, state("Enabled")),
            (
                S::Unspecified,
                S::Error,
                A::Unspecified,
                told("ResourceStatusChangedCritical", &["system", "Critical"]),
            ),
            (S::On, S::Unspecified, A::Unspecified, state("UnavailableOffline")),
            // The machine has started again by itself.
            (S::On, S::On, A::Unspecified, None),
        ] {
            assert_eq!(of(was, is, cause), wanted, "{was:?} {is:?} {cause:?}");
        }
    }

    #[test]
    fn a_chassis_and_the_manager_are_told_by_what_is_shown_of_them() {
        use v1::ChassisStatus as S;

        let asked = |was: S, is: S, cause: v1::ChassisAction| {
            let change = v1::ChassisStateChange {
                chassis_name: "box".into(),
                previous_status: was.into(),
                current_status: is.into(),
                cause: cause.into(),
                ..v1::ChassisStateChange::default()
            };
            words(&event("chassis.box.state", Some(Payload::ChassisStateChange(change))))
        };
        let of = |was: S, is: S| asked(was, is, v1::ChassisAction::Unspecified);
        let told = |id: &str, args: &[&str], says_all| is(id, args, says_all, "Chassis/box");
        assert_eq!(
            of(S::Off, S::Transitioning),
            told("ResourceStateChanged", &["box", "Starting"], true),
            "nobody says which way"
        );
        let off = v1::ChassisAction::EmergencyShutdown;
        assert_eq!(asked(S::On, S::Transitioning, off), told("ResourcePoweringOff", &["box"], true));
        assert_eq!(asked(S::Transitioning, S::Off, off), told("ResourcePoweredOff", &["box"], true));
        let on = asked(S::Off, S::Transitioning, v1::ChassisAction::On);
        assert_eq!(on, told("ResourcePoweringOn", &["box"], true));
        assert_eq!(of(S::Transitioning, S::On), told("ResourcePoweredOn", &["box"], true));
        assert_eq!(of(S::On, S::Warning), told("ResourceStatusChangedWarning", &["box", "Warning"], true));
        assert_eq!(of(S::Failed, S::Off), told("ResourceStatusChangedOK", &["box", "OK"], true));
        assert_eq!(of(S::Unknown, S::On), told("ResourceStateChanged", &["box", "Enabled"], true));
        assert_eq!(of(S::On, S::On), told("ResourceChanged", &[], false), "its light");

        let manager = |was: v1::ManagementControllerStatus, is: v1::ManagementControllerStatus| {
            let change = v1::ManagementControllerStateChange {
                previous_status: was.into(),
                current_status: is.into(),
                ..v1::ManagementControllerStateChange::default()
            };
            words(&event("bmc.bmc.state", Some(Payload::ManagementControllerStateChange(change))))
        };
        use v1::ManagementControllerStatus as M;
        let starting = is("ResourceStateChanged", &["bmc", "Starting"], true, "Managers/bmc");
        assert_eq!(manager(M::Ready, M::NotReady), starting);
        assert_eq!(manager(M::Ready, M::Error), None, "its health is told by what is wrong");
    }

    #[test]
    fn thresholds_that_are_crossed_and_left_are_told_with_their_value() {
        use v1::{ThresholdLevel as L, ThresholdSide as S};

        let crossed = |side: S, level: L, asserted, threshold: Option<f64>, chassis: &str| {
            let crossed = v1::SensorThresholdCrossed {
                sensor_id: "cpu0".into(),
                side: side.into(),
                level: level.into(),
                asserted,
                threshold,
                chassis_name: chassis.into(),
                ..v1::SensorThresholdCrossed::default()
            };
            words(&event("sensor.cpu0.threshold", Some(Payload::SensorThresholdCrossed(crossed))))
        };
        let told = |id: &str, value: &str, says_all| {
            is(id, &["Reading", value], says_all, "Chassis/box/Sensors/cpu0")
        };
        for (side, level, asserted, wanted) in [
            (S::Upper, L::Warning, true, told("ResourceWarningThresholdExceeded", "90.5", true)),
            (S::Upper, L::Warning, false, told("ResourceWarningThresholdCleared", "90.5", true)),
            (S::Upper, L::Critical, true, told("ResourceErrorThresholdExceeded", "90.5", true)),
            (S::Upper, L::Fatal, true, told("ResourceErrorThresholdExceeded", "90.5", true)),
            (S::Lower, L::Critical, true, told("ResourceErrorThresholdExceeded", "90.5", false)),
            (S::Lower, L::Fatal, false, told("ResourceErrorThresholdCleared", "90.5", false)),
            (S::Upper, L::Unspecified, true, None),
        ] {
            assert_eq!(crossed(side, level, asserted, Some(90.5), "box"), wanted, "{side:?} {level:?}");
        }
        let whole = crossed(S::Upper, L::Warning, true, Some(90.0), "box");
        assert_eq!(whole, told("ResourceWarningThresholdExceeded", "90", true));
        for threshold in [None, Some(f64::NAN)] {
            assert_eq!(crossed(S::Upper, L::Warning, true, threshold, "box"), None);
        }
        assert_eq!(crossed(S::Upper, L::Warning, true, Some(1.0), ""), None, "it is in no chassis");
    }

    #[test]
    fn a_sensor_that_fails_or_works_again_has_another_state() {
        use v1::{SensorContext as C, SensorQuality as Q, SensorReason as R};

        let of = |quality: Q, reason: R, context: C, chassis: &str| {
            let change = v1::SensorStateChange {
                id: "cpu0".into(),
                quality: quality.into(),
                reason: reason.into(),
                chassis_name: chassis.into(),
                context: context.into(),
            };
            words(&event("sensor.cpu0.state", Some(Payload::SensorStateChange(change))))
        };
        let state =
            |state: &str| is("ResourceStateChanged", &["cpu0", state], true, "Chassis/box/Sensors/cpu0");
        assert_eq!(of(Q::Failed, R::Io, C::Temperature, "box"), state("UnavailableOffline"));
        assert_eq!(of(Q::Good, R::Unspecified, C::Temperature, "box"), state("Enabled"));
        assert_eq!(of(Q::Unavailable, R::NotPresent, C::Temperature, "box"), state("Absent"));
        assert_eq!(of(Q::Unavailable, R::HostOff, C::Temperature, "box"), state("StandbyOffline"));
        assert_eq!(of(Q::Good, R::Unspecified, C::Presence, "box"), None, "it is no Sensor");
        assert_eq!(of(Q::Failed, R::TimedOut, C::Unspecified, ""), None, "a bus is none");
        assert_eq!(of(Q::Unspecified, R::Unspecified, C::Temperature, "box"), None);
    }

    #[test]
    fn what_comes_and_goes_is_created_changed_and_removed() {
        let account = |what: &str, kind: v1::UserChangeKind| {
            let username = "olga".into();
            let change = v1::UserChange { kind: kind.into(), username, ..v1::UserChange::default() };
            words(&event(&format!("user.a1.{what}"), Some(Payload::UserChange(change))))
        };
        let session = |kind: v1::SessionChangeKind, id: &str| {
            let session_id = id.into();
            let change = v1::SessionChange { kind: kind.into(), session_id, ..v1::SessionChange::default() };
            words(&event("session.s1.x", Some(Payload::SessionChange(change))))
        };
        use v1::{SessionChangeKind as S, UserChangeKind as U};
        let olga = |id: &str, says_all| is(id, &[], says_all, "AccountService/Accounts/olga");
        assert_eq!(account("created", U::Created), olga("ResourceCreated", true));
        assert_eq!(account("updated", U::Updated), olga("ResourceChanged", true));
        assert_eq!(account("expired", U::Updated), olga("ResourceChanged", false));
        assert_eq!(account("locked", U::Locked), olga("ResourceChanged", false));
        assert_eq!(account("deleted", U::Deleted), olga("ResourceRemoved", true));
        assert_eq!(account("unreadable", U::Unreadable), None);
        let s1 = |id: &str, says_all| is(id, &[], says_all, "SessionService/Sessions/s1");
        assert_eq!(session(S::Created, "s1"), s1("ResourceCreated", true));
        assert_eq!(session(S::Deleted, "s1"), s1("ResourceRemoved", true));
        assert_eq!(session(S::Expired, "s1"), s1("ResourceRemoved", false));
        assert_eq!(session(S::Created, "../x"), None);
        assert_eq!(session(S::LoginFailed, ""), None);
        let night = |id: &str| is(id, &[], true, "AccountService/Roles/night");
        assert_eq!(words(&event("role.night.created", None)), night("ResourceCreated"));
        assert_eq!(words(&event("role.night.updated", None)), night("ResourceChanged"));
        assert_eq!(words(&event("role.night.deleted", None)), night("ResourceRemoved"));
        assert_eq!(words(&event("role.night.other", None)), None);
        let policy = is("ResourceChanged", &[], true, "AccountService");
        assert_eq!(words(&event("user.policy.updated", None)), policy);
    }

    #[test]
    fn a_part_is_told_where_it_is_a_resource() {
        use v1::{AssetChangeType as K, AssetType as T};

        let of = |what: K, kind: T, host: &str, chassis: &str| {
            let change = v1::AssetChange {
                asset_id: "p1".into(),
                r#type: what.into(),
                asset_type: kind.into(),
                host_name: host.into(),
                chassis_name: chassis.into(),
                ..v1::AssetChange::default()
            };
            words(&event("inventory.p1.x", Some(Payload::AssetChange(change))))
        };
        let drive = |id: &str, says_all| is(id, &[], says_all, "Chassis/box/Drives/p1");
        assert_eq!(of(K::Added, T::Drive, "", "box"), drive("ResourceCreated", true));
        assert_eq!(of(K::Removed, T::Drive, "system", "box"), drive("ResourceRemoved", false));
        assert_eq!(of(K::Replaced, T::Drive, "", "box"), drive("ResourceChanged", false));
        assert_eq!(of(K::Set, T::Drive, "", "box"), drive("ResourceChanged", false));
        assert_eq!(of(K::Unspecified, T::Drive, "", "box"), None);
        let memory = is("ResourceCreated", &[], true, "Systems/system/Memory/p1");
        assert_eq!(of(K::Added, T::Memory, "system", ""), memory);
        let processor = is("ResourceRemoved", &[], false, "Systems/system/Processors/p1");
        assert_eq!(of(K::Removed, T::Processor, "system", ""), processor);
        // Nobody says where it is, or it is no resource; and of a release that does not say what it is.
        for (kind, host, chassis) in [
            (T::Drive, "system", ""),
            (T::Memory, "", "box"),
            (T::Board, "", "box"),
            (T::Unspecified, "", ""),
        ] {
            assert_eq!(of(K::Added, kind, host, chassis), None, "{kind:?}");
        }
    }

    #[test]
    fn a_medium_changes_its_drive_and_a_test_is_about_nothing() {
        let medium = |kind: v1::MediaChangeKind, slot: &str| {
            let change =
                v1::MediaChange { slot_name: slot.into(), kind: kind.into(), ..v1::MediaChange::default() };
            words(&event("media.cd.change", Some(Payload::MediaChange(change))))
        };
        let changed = is("ResourceChanged", &[], false, "Managers/bmc/VirtualMedia/cd");
        assert_eq!(medium(v1::MediaChangeKind::Inserted, "cd"), changed);
        assert_eq!(medium(v1::MediaChangeKind::Ejected, "cd"), changed);
        assert_eq!(medium(v1::MediaChangeKind::InsertFailed, "cd"), None);
        assert_eq!(medium(v1::MediaChangeKind::Uploaded, ""), None);
        assert_eq!(words(&event("log.events.test", None)), is("TestMessage", &[], false, ""));
        let asked = |id: &str, args: &[&str]| {
            let message_args = args.iter().map(|arg| (*arg).to_owned()).collect();
            let test = v1::TestEvent { message_id: id.into(), message_args };
            words(&event("log.events.test", Some(Payload::TestEvent(test))))
        };
        let off = is("ResourcePoweredOff", &["system"], true, "");
        assert_eq!(asked("ResourceEvent.1.0.ResourcePoweredOff", &["system"]), off);
        assert_eq!(asked("ResourceEvent.1.4.TestMessage", &[]), is("TestMessage", &[], true, ""));
        // As another release may have stored it.
        assert_eq!(asked("ResourceEvent.9.0.ResourceEaten", &["system"]), None);
        assert_eq!(asked("ResourceEvent.1.0.ResourcePoweredOff", &[]), None);
        for subject in ["log.events.gap", "host.system.operation", "network.eth0.link", "telemetry.hot.fired"]
        {
            assert_eq!(words(&event(subject, None)), None, "{subject}");
        }
    }

    #[test]
    fn a_test_event_has_the_arguments_that_the_registry_has() {
        let registry: serde_json::Value =
            serde_json::from_str(include_str!("../../dmtf/ResourceEvent.1.4.3.json")).unwrap();
        for template in SENT {
            let (_, name) = key(template.id).unwrap();
            let published = &registry["Messages"][name];
            let kinds = published["ParamTypes"].as_array().into_iter().flatten();
            let kinds: Vec<&str> = kinds.filter_map(serde_json::Value::as_str).collect();
            let args: Vec<String> =
                kinds.iter().map(|kind| if *kind == "number" { "-1.5" } else { "a" }.to_owned()).collect();
            let severity = match published["MessageSeverity"].as_str() {
                Some("OK") => v1::EventSeverity::Info,
                Some("Warning") => v1::EventSeverity::Warning,
                Some("Critical") => v1::EventSeverity::Critical,
                other => panic!("{name}: {other:?}"),
            };
            for id in [
                template.id.to_owned(),
                format!("ResourceEvent.{name}"),
                format!("ResourceEvent.1.0.2.{name}"),
            ] {
                assert_eq!(test_severity(&id, &args), Ok(severity), "{id}");
            }
            let more: Vec<String> = args.iter().cloned().chain(["a".to_owned()]).collect();
            assert_eq!(test_severity(template.id, &more), Err(NoTest::Args(args.len())), "{name}");
            for nth in (0..kinds.len()).filter(|nth| kinds[*nth] == "number") {
                for wrong in ["hot", "", "NaN", "inf"] {
                    let mut args = args.clone();
                    args[nth] = wrong.to_owned();
                    assert_eq!(test_severity(template.id, &args), Err(NoTest::Number(nth)), "{name} {wrong}");
                }
            }
        }
        for id in ["", "TestMessage", "UBmc.1.0.EventOK", "ResourceEvent.1.4.LicenseExpired", "ResourceEvent"]
        {
            assert_eq!(test_severity(id, &[]), Err(NoTest::Message), "{id}");
        }
        let why = test_severity("ResourceEvent.1.4.ResourcePoweredOn", &[]).unwrap_err();
        assert_eq!(why.to_string(), "the message has one argument");
    }
}
