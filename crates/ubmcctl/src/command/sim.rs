//! The simulated machine: faults on command, and load.

use hal_sim::{CONTROL_SOCKET, Control};
use serde_json::json;

use crate::cli::{Sim, SimCommand, SimFaultCommand, SimHostCommand};
use crate::failure::Failure;
use crate::output::{Format, Output, Table};

pub(crate) async fn run(sim: Sim, output: Output) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::Local(format!("{error}{cause}"))
    };
    let mut control =
        Control::connect(&sim.run_dir.join(CONTROL_SOCKET)).await.map_err(|error| failed(&error))?;
    let done = |words: String| match output.format {
        Format::Json => output.value(&json!({ "done": words })),
        Format::Table | Format::Csv => output.text(&words),
    };
    match sim.command {
        SimCommand::Fault(SimFaultCommand::Set { faults }) => {
            for (id, fault) in faults {
                control.break_part(&id, &fault).await.map_err(|error| failed(&error))?;
                done(format!("{id} is {fault}"))?;
            }
            Ok(())
        }
        SimCommand::Fault(SimFaultCommand::Clear { ids, all }) => {
            if all {
                control.mend(None).await.map_err(|error| failed(&error))?;
                return done("everything is mended".to_owned());
            }
            for id in ids {
                control.mend(Some(&id)).await.map_err(|error| failed(&error))?;
                done(format!("{id} is mended"))?;
            }
            Ok(())
        }
        SimCommand::Fault(SimFaultCommand::List) => {
            let broken = control.broken().await.map_err(|error| failed(&error))?;
            if output.format == Format::Json {
                let faults: Vec<_> =
                    broken.iter().map(|(id, fault)| json!({ "id": id, "fault": fault })).collect();
                return output.value(&json!({ "faults": faults }));
            }
            let mut table = Table::new(&["ID", "FAULT"]).empty("nothing is broken");
            for (id, fault) in broken {
                table.row([id, fault]);
            }
            output.table(&table)
        }
        SimCommand::Host(SimHostCommand::Load { load, host }) => {
            control.load(&host, load).await.map_err(|error| failed(&error))?;
            done(format!("{host} works at {:.0} %", load * 100.0))
        }
    }
}
