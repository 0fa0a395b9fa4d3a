//! Do not edit, revert your change: these are bytes clients and stored state hold.

use data_encoding::HEXLOWER;
use prost_reflect::prost::Message;
use prost_types::{Duration, Timestamp};
use schema::v1alpha1::{
    ActionOutcome, ChangeHostStateRequest, ChangeHostStateResponse, Event, EventSeverity, Host, HostAction,
    HostOperation, HostStateChange, HostStatus, OperationResult, PowerApplyRequest, PowerRestorePolicy,
    Principal, Privilege, Session, User, event,
};

fn same<M: Message + Default + PartialEq + std::fmt::Debug>(name: &str, message: &M, hex: &str) {
    let encoded = HEXLOWER.encode(&message.encode_to_vec());
    assert_eq!(encoded, hex, "{name} is written differently");
    let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
    assert_eq!(&M::decode(bytes.as_slice()).unwrap(), message, "{name} is read differently");
}

const AT: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 5 };

pub(super) fn check() {
    same(
        "ChangeHostStateRequest",
        &ChangeHostStateRequest { host_name: "system".into(), action: HostAction::PowerCycle.into() },
        "0a0673797374656d1006",
    );
    same(
        "ChangeHostStateResponse",
        &ChangeHostStateResponse {
            current_status: HostStatus::Transitioning.into(),
            operation_id: "op".into(),
            outcome: ActionOutcome::Accepted.into(),
        },
        "080312026f701801",
    );
    same(
        "PowerApplyRequest",
        &PowerApplyRequest {
            op_id: "op".into(),
            host: "system".into(),
            action: HostAction::Nmi.into(),
            ..Default::default()
        },
        "0a026f70120673797374656d1807",
    );
    same(
        "Host",
        &Host {
            name: "system".into(),
            status: Some(HostStatus::On.into()),
            requested_action: Some(HostAction::Reboot.into()),
            power_restore_policy: Some(PowerRestorePolicy::Last.into()),
            power_on_time: Some(Duration { seconds: 60, nanos: 0 }),
            last_operation: Some(HostOperation {
                id: "op".into(),
                action: HostAction::Off.into(),
                result: OperationResult::Failed.into(),
                reason: "GRACEFUL_OFF_TIMED_OUT".into(),
                username: "admin".into(),
                requested_at: Some(AT),
                ..Default::default()
            }),
            stale: true,
            ..Default::default()
        },
        "0a0673797374656d2802300370037a02083c8201310a026f70100218032216475241434546554c5f4f46\
         465f54494d45445f4f5554320561646d696e3a080880e2cfaa061005880101",
    );
    same(
        "Event",
        &Event {
            id: "1".into(),
            time: Some(AT),
            domain: "host".into(),
            component: "system".into(),
            what: "state".into(),
            severity: EventSeverity::Warning.into(),
            source: "statemgr".into(),
            principal: Some("admin".into()),
            payload: Some(event::Payload::HostStateChange(HostStateChange {
                host_name: "system".into(),
                previous_status: HostStatus::Off.into(),
                current_status: HostStatus::On.into(),
                cause: HostAction::On.into(),
                changed_at: Some(AT),
                ..Default::default()
            })),
            ..Default::default()
        },
        "0a013112080880e2cfaa0610051a04686f7374220673797374656d2a0573746174653003420873746174\
         656d67724a0561646d696ea201180a0673797374656d1001180220012a080880e2cfaa061005",
    );
    same(
        "User",
        &User {
            id: "u1".into(),
            username: "admin".into(),
            enabled: Some(false),
            created_at: Some(AT),
            role: "Administrator".into(),
            password_change_required: true,
            ..Default::default()
        },
        "0a027531120561646d696e280032080880e2cfaa0610058a010d41646d696e6973747261746f72900101",
    );
    same(
        "Session",
        &Session { id: "s1".into(), username: "admin".into(), expires_at: Some(AT), ..Default::default() },
        "0a0273311a0561646d696e42080880e2cfaa061005",
    );
    same(
        "Principal",
        &Principal {
            username: "admin".into(),
            role: "Operator".into(),
            privileges: vec![Privilege::Login.into(), Privilege::ConfigureComponents.into()],
            ..Default::default()
        },
        "0a0561646d696e1a084f70657261746f7222020204",
    );
}
