//! The hardware traits' contract on the emulated SoC, against the kernel's own drivers: GPIO, watchdog, a temperature.
//!
//! A guest program is the machine's first process and asks this test, over the console, for the far ends of its wires.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use emulate::{Disks, Machine, Options, Pin, Qmp};
use hal::LineId;

/// What the guest gets to drive and to read: two pins that no board has a use for.
const OUT: (&str, u32) = ("1e780000.gpio", 8);
const IN: (&str, u32) = ("1e780000.gpio", 9);
/// Longest wait for a line of the guest.
const LIMIT: Duration = Duration::from_secs(300);

fn pin((chip, offset): (&str, u32)) -> Result<Pin> {
    Pin::find(&LineId::Offset { chip: chip.into(), offset }, &HashMap::new())
}

/// Both wires are active low.
async fn put(qmp: &Qmp, pin: &Pin, active: bool) -> Result<()> {
    qmp.set(pin.object, &pin.property, !active).await
}

/// What the output does, as the chip's registers show it: its level, and its pull's when nobody drives it.
async fn look(qmp: &Qmp, pin: &Pin) -> Result<bool> {
    match qmp.words(pin.bank, 2).await?.as_slice() {
        [data, direction] => Ok(direction & pin.mask != 0 && data & pin.mask == 0),
        _ => bail!("two words"),
    }
}

async fn answer(machine: &Machine, mode: &str, question: &str) -> Result<String> {
    let qmp = &machine.qmp;
    Ok(match question {
        "mode" => mode.to_owned(),
        "look" => u8::from(look(qmp, &pin(OUT)?).await?).to_string(),
        "put 0" | "put 1" => {
            put(qmp, &pin(IN)?, question == "put 1").await?;
            "done".to_owned()
        }
        "heat" => {
            for sensor in qmp.devices("tmp105").await? {
                qmp.set(&sensor, "temperature", 56_000).await?;
            }
            "done".to_owned()
        }
        _ => bail!("the guest asks {question:?}"),
    })
}

/// Answers questions until the guest says `last`; returns the number of the line after it.
async fn serve(machine: &Machine, mode: &str, last: &str, mut from: usize) -> Result<usize> {
    loop {
        // A whole line: a question is not answered before it has been asked.
        let lines = loop {
            let lines = machine.console.lines(from);
            if !lines.is_empty() {
                break lines;
            }
            machine.console.next(from, LIMIT).await?;
        };
        for line in lines {
            from += 1;
            if let Some(question) = line.text.strip_prefix('@') {
                let answer = answer(machine, mode, question).await?;
                machine.console.send(&format!("={answer}\n")).await?;
            } else if line.text.contains("contract: FAILED") || line.text.contains("Kernel panic") {
                bail!("{}\n{}", line.text, machine.console.tail());
            } else if line.text.contains(last) {
                return Ok(from);
            }
        }
    }
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a skip is counted by what is printed")]
async fn the_kernels_drivers_of_the_emulated_soc_keep_the_contract() -> Result<()> {
    let Some(folder) = std::env::var_os("UBMC_TEST_CONTRACT").map(PathBuf::from) else {
        println!("SKIP: no contract guest (cargo xtask test emulated makes it)");
        return Ok(());
    };
    let disks = Disks::copy(&folder)?;
    let append = [("GPIO_OUT", OUT), ("GPIO_IN", IN)].map(|(name, (chip, n))| format!("{name}={chip}:{n}"));
    let options = Options {
        append: ["rdinit=/init", "loglevel=3"].into_iter().map(str::to_owned).chain(append).collect(),
        ..Options::default()
    };
    let machine = Machine::start(&disks, &options).await?;
    let mut events = machine.qmp.events();
    put(&machine.qmp, &pin(IN)?, false).await?;
    put(&machine.qmp, &pin(OUT)?, false).await?;
    machine.go().await?;

    let from = serve(&machine, "all", "waiting for the bite", 0).await?;
    let said = machine.console.lines(0).into_iter().filter(|line| line.text.starts_with("contract:"));
    for line in said {
        println!("{:?} {}", line.at, line.text);
    }
    let waiting = hal_sim::monotonic();
    let bitten = Qmp::event(&mut events, "RESET", LIMIT).await.context("the watchdog bites")?;
    assert_eq!(bitten.data["guest"], true, "the machine's own doing: {bitten:?}");
    let after = bitten.at.saturating_sub(waiting);
    assert!(after > Duration::from_secs(1), "not before its time, which is 3 s: {after:?}");
    println!("bitten after {after:?}");

    // QEMU's GPIO forgets its levels at a reset; nothing is driven now.
    assert!(!look(&machine.qmp, &pin(OUT)?).await?);
    serve(&machine, "bitten", "contract: bitten", from).await?;
    for line in machine.console.lines(from).iter().filter(|line| line.text.starts_with("contract:")) {
        println!("{:?} {}", line.at, line.text);
    }
    machine.kill().await
}
