//! The error model: gRPC status codes, carried on the bus as headers plus a `google.rpc.Status` payload.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use prost::Message;

use crate::header;
pub use schema::Code;
use schema::google::rpc::{ErrorInfo, Status as WireStatus};
use schema::mask::MaskError;

/// The error of a call: a code, a sentence for a person, and typed details for a program.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Status {
    /// What kind of failure; never [`Code::Ok`].
    pub code: Code,
    /// A sentence for a person. It names the component and what to do where that is known.
    pub message: String,
    /// `google.protobuf.Any` details, usually one [`ErrorInfo`].
    pub details: Vec<prost_types::Any>,
}

/// The type URL under which details carry an [`ErrorInfo`].
pub const ERROR_INFO_URL: &str = "type.googleapis.com/google.rpc.ErrorInfo";
/// Reason of an `UNAVAILABLE` or `DEADLINE_EXCEEDED` after a request had gone out: who took it is gone or silent, so it may have been done
/// or not. Without this reason nobody got it, or its owner found that it was too late to begin.
pub const UNANSWERED: &str = "UNANSWERED";
/// Reason of an `UNAVAILABLE` of a change that its owner has begun and whose end it does not know yet. It is no refusal: what is true is shown
/// once it is known.
pub const OUTCOME_UNKNOWN: &str = "OUTCOME_UNKNOWN";
/// The domain of the reasons this project defines.
pub const ERROR_DOMAIN: &str = "u-bmc";
/// Which metadata of an [`ErrorInfo`] says after how many whole seconds the request may be made again.
const RETRY_AFTER_S: &str = "retry_after_s";

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// `NOT_FOUND` for a name nothing of the kind `what` has: `there is no host "x"; the board has system`, with the reason
    /// `HOST_NOT_FOUND`.
    pub fn no_such<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<_> = known.into_iter().collect();
        let reason = format!("{}_NOT_FOUND", what.to_uppercase().replace(' ', "_"));
        Self::not_found(format!("there is no {what} {name:?}; the board has {}", known.join(", ")))
            .with_reason(reason)
    }

    /// Adds an [`ErrorInfo`] with `reason` in our domain.
    #[must_use]
    pub fn with_reason(self, reason: impl Into<String>) -> Self {
        self.with_info(info(reason.into()))
    }

    /// Adds an [`ErrorInfo`].
    #[must_use]
    pub fn with_info(mut self, info: ErrorInfo) -> Self {
        self.details.push(packed(&info));
        self
    }

    /// Says after how long the request may be made again, rounded up to whole seconds, as `retry_after_s` in the metadata of [`Status::info`]. It comes after
    /// the reason: where there is none it adds an [`ErrorInfo`] without one.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        let mut with_wait = self.info().unwrap_or_else(|| info(String::new()));
        with_wait.metadata.insert(RETRY_AFTER_S.to_owned(), seconds.to_string());
        let with_wait = packed(&with_wait);
        match self.details.iter_mut().find(|any| any.type_url == ERROR_INFO_URL) {
            Some(first) => *first = with_wait,
            None => self.details.push(with_wait),
        }
        self
    }

    /// After how long the request may be made again, in whole seconds; none when its owner does not say so.
    pub fn wait(&self) -> Option<Duration> {
        let seconds = self.info()?.metadata.get(RETRY_AFTER_S)?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The first [`ErrorInfo`] among the details.
    pub fn info(&self) -> Option<ErrorInfo> {
        self.details
            .iter()
            .find(|any| any.type_url == ERROR_INFO_URL)
            .and_then(|any| ErrorInfo::decode(any.value.as_slice()).ok())
    }

    /// The reason of [`Status::info`], empty when there is none.
    pub fn reason(&self) -> String {
        self.info().map(|info| info.reason).unwrap_or_default()
    }

    /// The headers of an error reply; its payload is [`Status::encode`].
    pub fn reply_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::GRPC_STATUS, self.code.number().to_string());
        headers.insert(header::GRPC_MESSAGE, header::encode_message(&self.message));
        headers
    }

    /// What a reply says: its payload, or the error its headers announce.
    ///
    /// # Errors
    /// The other side's.
    pub fn of_reply(headers: Option<&HeaderMap>, payload: Bytes) -> Result<Bytes, Self> {
        let Some(number) = headers.and_then(|map| map.get(header::GRPC_STATUS)) else { return Ok(payload) };
        let number = number.as_str().parse().unwrap_or(2);
        let message = headers
            .and_then(|map| map.get(header::GRPC_MESSAGE))
            .map(|value| header::decode(value.as_str()))
            .unwrap_or_default();
        Err(Self::decode(number, &message, &payload))
    }

    /// `google.rpc.Status` bytes.
    pub fn encode(&self) -> Vec<u8> {
        WireStatus { code: self.code.number(), message: self.message.clone(), details: self.details.clone() }
            .encode_to_vec()
    }

    /// Reads `google.rpc.Status` bytes. `number` and `message` are the header's, used when the payload is unreadable.
    pub(crate) fn decode(number: i32, message: &str, payload: &[u8]) -> Self {
        match WireStatus::decode(payload) {
            Ok(wire) if wire.code != 0 => {
                Self { code: Code::from_number(wire.code), message: wire.message, details: wire.details }
            }
            _ => {
                // An error reply must not turn into success because its number is nonsense.
                let code = match Code::from_number(number) {
                    Code::Ok => Code::Unknown,
                    code => code,
                };
                Self::new(code, message)
            }
        }
    }
}

/// An [`ErrorInfo`] of our domain.
fn info(reason: String) -> ErrorInfo {
    ErrorInfo { reason, domain: ERROR_DOMAIN.to_owned(), metadata: HashMap::new() }
}

/// As it stands among the details.
fn packed(info: &ErrorInfo) -> prost_types::Any {
    prost_types::Any { type_url: ERROR_INFO_URL.to_owned(), value: info.encode_to_vec() }
}

/// `INVALID_ARGUMENT` about the field `field_mask`, with the reason `FIELD_MASK`.
impl From<MaskError> for Status {
    fn from(error: MaskError) -> Self {
        Self::bad_field("field_mask", error.to_string()).with_reason("FIELD_MASK")
    }
}

macro_rules! constructors {
    ($($name:ident => $code:ident),* $(,)?) => {
        impl Status {
            $(
                #[doc = concat!("A status with [`Code::", stringify!($code), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(Code::$code, message)
                }
            )*
        }
    };
}

constructors! {
    cancelled => Cancelled,
    unknown => Unknown,
    invalid_argument => InvalidArgument,
    deadline_exceeded => DeadlineExceeded,
    not_found => NotFound,
    already_exists => AlreadyExists,
    permission_denied => PermissionDenied,
    resource_exhausted => ResourceExhausted,
    failed_precondition => FailedPrecondition,
    aborted => Aborted,
    out_of_range => OutOfRange,
    unimplemented => Unimplemented,
    internal => Internal,
    unavailable => Unavailable,
    data_loss => DataLoss,
    unauthenticated => Unauthenticated,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_code_survives_its_number() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), code);
        }
        assert_eq!(Code::from_number(99), Code::Unknown);
        assert_eq!(Code::from_number(-1), Code::Unknown);
    }

    #[test]
    fn a_name_that_is_not_there_is_told_with_those_that_are() {
        let status = Status::no_such("management controller", "x", ["bmc", "bmc2"]);
        assert_eq!(status.message, "there is no management controller \"x\"; the board has bmc, bmc2");
        assert_eq!(
            (status.code, status.reason().as_str()),
            (Code::NotFound, "MANAGEMENT_CONTROLLER_NOT_FOUND")
        );
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_with_the_reason_and_what_else_is_said() {
        let busy = || Status::resource_exhausted("busy").with_reason("BUSY");
        assert_eq!((busy().wait(), Status::unavailable("away").wait()), (None, None));
        for (wait, told) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (599_400, 600)] {
            let status = busy().with_wait(Duration::from_millis(wait));
            assert_eq!(status.wait(), Some(Duration::from_secs(told)), "{wait} ms");
            assert_eq!((status.reason().as_str(), status.details.len()), ("BUSY", 1));
            assert_eq!(status.info().unwrap().metadata[RETRY_AFTER_S], told.to_string());
        }
        let again = busy().with_wait(Duration::from_secs(9)).with_wait(Duration::from_secs(3));
        assert_eq!((again.wait(), again.details.len()), (Some(Duration::from_secs(3)), 1));
        let bare = Status::unavailable("away").with_wait(Duration::MAX);
        assert_eq!((bare.wait(), bare.reason()), (Some(Duration::from_secs(u64::MAX)), String::new()));
        let mut odd = info("BUSY".to_owned());
        for text in ["", "-1", "1.5", "soon", "18446744073709551616"] {
            odd.metadata.insert(RETRY_AFTER_S.to_owned(), text.to_owned());
            assert_eq!(Status::unavailable("away").with_info(odd.clone()).wait(), None, "{text:?}");
        }
    }

    #[test]
    fn an_error_reply_with_status_zero_is_still_an_error() {
        assert_eq!(Status::decode(0, "odd", b"").code, Code::Unknown);
        assert_eq!(Status::decode(14, "gone", b"\xff\xff"), Status::unavailable("gone"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_status_survives_the_wire(index in 1usize..17, message in ".*", reason in "[A-Z_]{1,20}") {
            let status = Status::new(Code::ALL[index], message).with_reason(&reason);
            let back = Status::decode(2, "", &status.encode());
            prop_assert_eq!(back.reason(), reason);
            prop_assert_eq!(back, status);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let status = Status::decode(13, "m", &bytes);
            prop_assert_ne!(status.code, Code::Ok);
        }
    }
}
