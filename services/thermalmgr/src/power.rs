//! Which hosts are off, and cutting one off.

use std::time::Duration;

use ipc::{CallContext, Client, News};
use schema::rpc::power_service::{APPLY, LIST_HOSTS};
use schema::v1alpha1 as v1;
use service::ErrorChain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How often it is asked without news.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer counts.
const COUNTS: Duration = Duration::from_secs(12);
/// How long it may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How long a host may take to be driven off.
const CUT_WITHIN: Duration = Duration::from_secs(5);
/// Who asks for it, in the host's last operation and in events. No account has a name with a space.
const BY: &str = "thermal emergency";

/// The hosts that are known to be off, by id. A host of which nobody says that is on.
pub(crate) type Off = Vec<String>;

/// Tells which hosts are off, as often as that may have changed. Ends with its listener.
pub(crate) async fn watch(bus: Client, tell: mpsc::Sender<Off>) {
    let mut news = News::of(bus.clone(), "event.host.*.state", EVERY);
    let mut known = Instant::now();
    loop {
        news.next().await;
        let context = CallContext::new().with_timeout(WITHIN);
        let off = match bus.call(LIST_HOSTS, &v1::PowerListHostsRequest {}, &context).await {
            Ok(list) => {
                known = Instant::now();
                Some(list.hosts.into_iter().filter(is_off).map(|host| host.host).collect())
            }
            Err(error) => {
                tracing::debug!(error = %ErrorChain(&error), "cannot read host power from powermgr: retrying");
                (known.elapsed() >= COUNTS).then(Vec::new)
            }
        };
        if let Some(off) = off
            && tell.send(off).await.is_err()
        {
            return;
        }
    }
}

fn is_off(host: &v1::HostPower) -> bool {
    host.power_good == Some(false)
}

/// Cuts the power of these hosts, whatever they are doing. The error is for people: why it is not done of all.
pub(crate) async fn cut(bus: Client, hosts: Vec<String>) -> Result<(), String> {
    let mut cuts: JoinSet<Result<(), String>> =
        hosts.into_iter().map(|host| cut_one(bus.clone(), host)).collect();
    let mut refused = Vec::new();
    while let Some(cut) = cuts.join_next().await {
        refused.extend(cut.unwrap_or_else(|error| Err(error.to_string())).err());
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
}

async fn cut_one(bus: Client, host: String) -> Result<(), String> {
    let by = ipc::Principal { username: BY.to_owned(), ..ipc::Principal::default() };
    let context = CallContext::new().with_principal(by).with_timeout(CUT_WITHIN).with_patience(CUT_WITHIN);
    let request = v1::PowerApplyRequest {
        // As random as an operation's id has to be, and of its shape.
        op_id: context.trace.trace_id(),
        host: host.clone(),
        action: v1::HostAction::ForceOff.into(),
        ..v1::PowerApplyRequest::default()
    };
    match bus.call(APPLY, &request, &context).await {
        Ok(done) if done.outcome() == v1::ActionOutcome::Already => {
            tracing::debug!(host, "overheated host is off already");
        }
        Ok(_) => tracing::warn!(host, "force off overheated host: over critical temperature for too long"),
        Err(error) => {
            tracing::error!(host, error = %ErrorChain(&error), "cannot force off overheated host: trying again");
            return Err(format!("{host}: {}", ErrorChain(&error)));
        }
    }
    Ok(())
}
