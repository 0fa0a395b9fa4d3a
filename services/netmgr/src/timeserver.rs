//! Asking a time server: SNTP by rsntp, which checks that an answer belongs to the question, comes from a server in sync and is no refusal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rsntp::{AsyncSntpClient, Config, KissCode, ProtocolError, SynchronizationError};

use crate::sync::{Failed, Sample};

/// How long a name may take to resolve, and an answer to come.
const RESOLVE: Duration = Duration::from_secs(6);
const ANSWER: Duration = Duration::from_secs(3);
/// The port of NTP.
const PORT: u16 = 123;

/// Asks `server` (an address or a name) what time it is. Ends within ten seconds.
pub(crate) async fn ask(server: &str) -> Result<Sample, Failed> {
    let failed = |why: String| Failed::Other(why);
    let address = match server.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, PORT),
        Err(_) => tokio::time::timeout(RESOLVE, tokio::net::lookup_host((server, PORT)))
            .await
            .map_err(|_| failed("the name server does not answer".into()))?
            .map_err(|error| failed(error.to_string()))?
            .next()
            .ok_or_else(|| failed("the name has no address".into()))?,
    };
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Connected, so that the kernel lets nobody else answer.
    let config = Config::default().bind_address(SocketAddr::new(any, 0)).timeout(ANSWER).connect_ip(true);
    match AsyncSntpClient::with_config(config).synchronize(address).await {
        Ok(result) => Ok(Sample {
            offset_us: micros(result.clock_offset().as_secs_f64()),
            delay_us: micros(result.round_trip_delay().as_secs_f64()),
        }),
        Err(SynchronizationError::ProtocolError(ProtocolError::KissODeath(code))) => Err(match code {
            KissCode::RateExceeded => Failed::TooOften,
            KissCode::AccessDenied => Failed::Denied,
            other => failed(other.to_string()),
        }),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Microseconds; what does not fit is the largest there is, which nobody believes.
#[allow(clippy::cast_possible_truncation, reason = "a cast from a float saturates, which is what is wanted")]
fn micros(secs: f64) -> i64 {
    (secs * 1e6) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_microseconds_and_nonsense_the_largest() {
        assert_eq!(micros(-1.5), -1_500_000);
        assert_eq!(micros(1e300), i64::MAX);
        assert_eq!(micros(f64::NAN), 0);
    }
}
