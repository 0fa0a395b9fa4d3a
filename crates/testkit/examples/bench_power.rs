//! `cargo xtask bench power`: how long from the API call to the edge on the simulated pin.
//!
//! Both ends read the same clock (`CLOCK_MONOTONIC`): the client just before it writes the request, the twin when the level
//! changes. Connection and login are warm; the request pays for HTTP, authentication, both bus hops and the machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use testkit::{Suite, eventually};

/// NMI pulses: 200 ms each, so this many can be measured in a reasonable time.
const PULSES: usize = 200;
/// On and force-off: the machine itself takes seconds for each.
const CYCLES: usize = 8;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    let suite = Suite::builder(binary).start().await?;
    let admin = suite.admin();
    let mut twin = suite.twin().await?;
    twin.follow().await?;
    let host = "/api/v1alpha1/hosts/system";
    let latency =
        |at_ns: u64, asked: Duration| Duration::from_nanos(at_ns).saturating_sub(asked).as_secs_f64() * 1e3;

    // The first request pays for the connection and for hashing the password; no later one does.
    admin.get(host).await?;

    let (mut power, mut nmi, mut reply) = (Vec::new(), Vec::new(), Vec::new());
    let state = format!("{host}/state");
    for cycle in 0..CYCLES {
        for (action, end) in
            [("HOST_ACTION_ON", "HOST_STATUS_ON"), ("HOST_ACTION_FORCE_OFF", "HOST_STATUS_OFF")]
        {
            let asked = hal_sim::monotonic();
            let answer = admin.post(&state, &json!({ "action": action })).await?;
            reply.push((hal_sim::monotonic() - asked).as_secs_f64() * 1e3);
            anyhow::ensure!(answer.status == 200, "{action}: {}", answer.text());
            let edge = twin.wait_edge("system", "power", true).await?;
            power.push(latency(edge.at_ns, asked));
            eventually(end, Duration::from_secs(60), || async {
                Ok(admin.get(host).await?.json()?["host"]["status"] == end)
            })
            .await?;
        }
        if cycle + 1 < CYCLES {
            continue;
        }
        admin.post(&state, &json!({ "action": "HOST_ACTION_ON" })).await?;
        eventually("on", Duration::from_secs(60), || async {
            Ok(admin.get(host).await?.json()?["host"]["status"] == "HOST_STATUS_ON")
        })
        .await?;
        while nmi.len() < PULSES {
            let asked = hal_sim::monotonic();
            let answer = admin.post(&state, &json!({ "action": "HOST_ACTION_NMI" })).await?;
            anyhow::ensure!(answer.status == 200, "{}", answer.text());
            reply.push((hal_sim::monotonic() - asked).as_secs_f64() * 1e3);
            nmi.push(latency(twin.wait_edge("system", "nmi", true).await?.at_ns, asked));
            twin.wait_edge("system", "nmi", false).await?;
            // The machine closes the operation a moment after the pulse ends.
            eventually("the pulse is over", Duration::from_secs(10), || async {
                let text = admin.get(host).await?.text();
                Ok(!text.contains("OPERATION_RESULT_RUNNING"))
            })
            .await?;
        }
    }
    print("call -> power button edge", &mut power);
    print("call -> NMI edge", &mut nmi);
    print("call -> reply", &mut reply);
    suite.stop().await
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank among a few hundred samples"
)]
fn print(what: &str, samples: &mut [f64]) {
    samples.sort_by(f64::total_cmp);
    let rank = |p: f64| {
        samples.get(((samples.len() as f64 * p).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0.0)
    };
    println!(
        "{what:28} n={:4}  p50 {:7.3} ms  p90 {:7.3} ms  p99 {:7.3} ms  max {:7.3} ms",
        samples.len(),
        rank(0.5),
        rank(0.9),
        rank(0.99),
        rank(1.0)
    );
}
