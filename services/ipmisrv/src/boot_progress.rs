//! How far the machine's boot has come, as its firmware tells it by the machine's own way: told to statemgr, which keeps it. What clients of the network add to
//! the SEL says nothing of the machine.

use std::time::Duration;

use ipc::{CallContext, Client};
use ipmi::progress::{self, Stage};
use ipmi::sel;
use model::Snapshot;
use schema::rpc::boot_progress_service::REPORT_BOOT_PROGRESS;
use schema::v1alpha1 as v1;
use units::Mono;

use crate::host;

/// How long statemgr may take over it: the next one comes soon.
const CALL: Duration = Duration::from_secs(5);

/// What is to be told of a record that somebody adds to the SEL; `told`: when, since the boot of the kernel.
pub(crate) fn report(
    session: u32,
    record: &[u8; sel::LENGTH],
    snapshot: &Snapshot,
    told: Mono,
) -> Option<v1::ReportBootProgressRequest> {
    if session != host::SESSION {
        return None;
    }
    let stage = stage(progress::of_record(record)?);
    // The way is the first host's.
    let host_name = snapshot.hosts().iter().next()?.value.name.clone();
    Some(v1::ReportBootProgressRequest { host_name, stage: stage.into(), told_ms: told.as_millis() })
}

/// Tells it. What nobody takes is not told again: what comes next is newer.
pub(crate) async fn tell(bus: Client, report: v1::ReportBootProgressRequest) {
    let context = CallContext::new().with_timeout(CALL);
    match bus.call(REPORT_BOOT_PROGRESS, &report, &context).await {
        Ok(answer) => {
            let (host, stage) = (report.host_name.as_str(), report.stage().as_str_name());
            tracing::debug!(host, stage, taken = answer.taken, "told how far a boot has come");
        }
        Err(status) => tracing::warn!(%status, "cannot tell how far a boot has come"),
    }
}

fn stage(stage: Stage) -> v1::BootProgressStage {
    use v1::BootProgressStage as To;
    match stage {
        Stage::PrimaryProcessor => To::PrimaryProcessorInitialization,
        Stage::Bus => To::BusInitialization,
        Stage::Memory => To::MemoryInitialization,
        Stage::SecondaryProcessors => To::SecondaryProcessorInitialization,
        Stage::Pci => To::PciResourceConfig,
        Stage::Board => To::MotherboardInitialization,
        Stage::System => To::SystemInitialization,
        Stage::Setup => To::SetupEntered,
        Stage::OsStarts => To::StartingOperatingSystem,
        Stage::OsRuns => To::Complete,
        Stage::Oem => To::Oem,
    }
}

#[cfg(test)]
mod tests {
    use model::Model;

    use super::*;
    use crate::bench::model;

    /// System Firmware Progress: PCI resources.
    const PCI: [u8; sel::LENGTH] = [0, 0, 2, 0, 0, 0, 0, 0x01, 0, 4, 0x0f, 0x06, 0x6f, 0xc2, 0x07, 0xff];

    #[test]
    fn what_the_machine_says_of_its_boot_is_told_and_nothing_that_others_say() {
        let (model, told) = (model(), Mono::from_millis(17));
        let expected = v1::ReportBootProgressRequest {
            host_name: "system".to_owned(),
            stage: v1::BootProgressStage::PciResourceConfig.into(),
            told_ms: 17,
        };
        assert_eq!(report(host::SESSION, &PCI, model.snapshot(), told), Some(expected));
        assert_eq!(report(7, &PCI, model.snapshot(), told), None, "a client of the network");
        let mut other = PCI;
        other[10] = 0x01;
        assert_eq!(report(host::SESSION, &other, model.snapshot(), told), None, "of a temperature");
        assert_eq!(report(host::SESSION, &PCI, Model::new(1).snapshot(), told), None, "of nobody knows whom");
    }
}
