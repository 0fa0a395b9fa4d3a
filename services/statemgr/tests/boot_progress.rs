//! How far a host's boot has come, as clients see it while the host is restarted and switched off.

mod support;

use std::time::Duration;

use ipc::{CallContext, Code, Status};
use schema::rpc::boot_progress_service::REPORT_BOOT_PROGRESS;
use schema::v1alpha1 as v1;
use service::Clock;
use support::{Bench, on};

/// Tells this of that moment; whether it counts.
async fn report(bench: &Bench, stage: v1::BootProgressStage, told_ms: u64) -> Result<bool, Status> {
    let request = v1::ReportBootProgressRequest { host_name: "system".into(), stage: stage.into(), told_ms };
    let context = CallContext::new().with_patience(Duration::from_secs(5));
    bench.client.call(REPORT_BOOT_PROGRESS, &request, &context).await.map(|answer| answer.taken)
}

fn now() -> u64 {
    Clock::boot().as_millis()
}

fn restarts(host: &v1::Host) -> u32 {
    host.last_reboot.as_ref().map_or(0, |reboot| reboot.reboot_count())
}

#[tokio::test]
async fn it_is_told_of_this_boot_and_not_of_the_one_before_nor_while_the_host_is_off() {
    use v1::BootProgressStage as Stage;
    let bench = Bench::start(on()).await;
    let host = bench.until_status(v1::HostStatus::On).await;
    assert_eq!(host.boot_progress, None, "nothing was told");
    let refused = report(&bench, Stage::Unspecified, now()).await.expect_err("no stage");
    assert_eq!(refused.code, Code::InvalidArgument);

    let in_this_boot = now();
    assert_eq!(report(&bench, Stage::MemoryInitialization, in_this_boot).await, Ok(true));
    assert_eq!(report(&bench, Stage::Complete, now()).await, Ok(true));
    // It was only long under way.
    assert_eq!(report(&bench, Stage::PciResourceConfig, in_this_boot.saturating_sub(1)).await, Ok(false));
    let progress = bench.host().await.boot_progress.expect("it was told");
    assert_eq!((progress.stage(), progress.stage_at.is_some()), (Stage::Complete, true));

    let before = restarts(&host);
    bench.change(v1::HostAction::ForceRestart).await.expect("accepted");
    let host = bench.until("restarted", |host| restarts(host) > before).await;
    assert_eq!(host.boot_progress, None, "that was of the boot before");
    // When it began is known to a hundredth of a second.
    let in_the_boot_before = in_this_boot.saturating_sub(20);
    assert_eq!(report(&bench, Stage::Complete, in_the_boot_before).await, Ok(false), "a late message of it");
    assert_eq!(bench.host().await.boot_progress, None);
    assert_eq!(report(&bench, Stage::PrimaryProcessorInitialization, now()).await, Ok(true));
    let host = bench.host().await;
    let progress = host.boot_progress.expect("it was told");
    assert_eq!(progress.stage(), Stage::PrimaryProcessorInitialization);
    assert!(progress.last_boot_time.is_some());
    assert_eq!(progress.last_boot_time, host.last_reboot.and_then(|reboot| reboot.last_reboot_time));

    bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    let host = bench.until_status(v1::HostStatus::Off).await;
    assert_eq!(host.boot_progress, None);
    assert_eq!(report(&bench, Stage::Complete, now()).await, Ok(false), "it is off");
    assert_eq!(bench.host().await.boot_progress, None);
}

#[tokio::test]
async fn nothing_is_known_of_a_boot_that_began_before_statemgr() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    assert_eq!(report(&bench, v1::BootProgressStage::Complete, now()).await, Ok(true));
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    assert_eq!(bench.until_status(v1::HostStatus::On).await.boot_progress, None);
    // What is told from then on counts.
    assert_eq!(report(&bench, v1::BootProgressStage::SetupEntered, now()).await, Ok(true));
    let progress = bench.host().await.boot_progress.expect("it was told");
    assert_eq!(progress.stage(), v1::BootProgressStage::SetupEntered);
}
