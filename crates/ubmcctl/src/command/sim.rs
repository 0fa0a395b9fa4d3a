//! The simulated machine: faults on command, and load.

use hal_sim::{CONTROL_SOCKET, Control, ControlError};
use serde_json::json;

use crate::cli::{Sim, SimCommand, SimFaultCommand, SimHostCommand};
use crate::failure::Failure;
use crate::output::{Format, Output, Table};

/// What went wrong, with its exit code.
fn failed(error: &ControlError) -> Failure {
    match error {
        ControlError::Unknown { .. } => Failure::not_found(error.to_string()),
        ControlError::Refused { .. } => Failure::Usage(error.to_string()),
        ControlError::Socket { source, .. } => Failure::Local(format!("{error}: {source}")),
    }
}

pub(crate) async fn run(sim: Sim, output: Output) -> Result<(), Failure> {
    let mut control =
        Control::connect(&sim.run_dir.join(CONTROL_SOCKET)).await.map_err(|error| failed(&error))?;
    let done = |words: String| match output.format {
        Format::Json => output.value(&json!({ "done": words })),
        Format::Table | Format::Csv => output.text(&words),
    };
    match sim.command {
        SimCommand::Fault(SimFaultCommand::Set { faults }) => {
            control.break_parts(faults.clone()).await.map_err(|error| failed(&error))?;
            for (id, fault) in faults {
                done(format!("{id} is {fault}"))?;
            }
            Ok(())
        }
        SimCommand::Fault(SimFaultCommand::Clear { ids, all }) => {
            if all {
                control.mend(None).await.map_err(|error| failed(&error))?;
                return done("everything is mended".to_owned());
            }
            let broken = control.broken().await.map_err(|error| failed(&error))?;
            if let Some(id) = ids.iter().find(|id| !broken.iter().any(|(known, _)| known == *id)) {
                return Err(Failure::not_found(format!("{id} is not broken: nothing is mended")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_exit_code_of_the_table() {
        let (request, reason) = ("nosuch=missing".to_owned(), "there is no nosuch".to_owned());
        let unknown = ControlError::Unknown { request: request.clone(), reason: reason.clone() };
        let unreachable = ControlError::Socket {
            path: "twin-control.sock".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let codes = [unknown, ControlError::Refused { request, reason }, unreachable];
        assert_eq!(codes.map(|error| failed(&error).exit_code()), [6, 2, 1]);
    }
}
