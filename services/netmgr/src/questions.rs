//! What other daemons ask.

use std::time::Duration;

use ipc::{Calls, Client, Request};
use schema::server::NetworkServiceCall as Call;
use tokio::sync::mpsc;

/// Questions of other daemons that wait for the loop.
const CALLS: usize = 8;
/// Pause before they are served after all.
const CALLS_AGAIN: Duration = Duration::from_secs(5);

/// What other daemons ask. The network does not wait for a bus that is not there.
pub(crate) fn calls(bus: Client) -> mpsc::Receiver<Call<Request>> {
    let (to, calls) = mpsc::channel(CALLS);
    tokio::spawn(async move {
        let mut asked: Calls<Call<Request>> = loop {
            match bus.calls().await {
                Ok(asked) => break asked,
                Err(error) => tracing::warn!(%error, "cannot serve network interfaces: retrying"),
            }
            tokio::time::sleep(CALLS_AGAIN).await;
        };
        while let Some(call) = asked.next().await {
            if to.send(call).await.is_err() {
                return;
            }
        }
    });
    calls
}
