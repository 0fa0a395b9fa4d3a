//! Times of a boot, read from the console and from the first answer of the API.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::bmc::{Bmc, READY_LINE};
use crate::console::Line;

/// How stage0's lines begin.
const STAGE0: &str = "u-bmc stage0: ";

/// A moment of a boot.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// What happened.
    pub what: String,
    /// Seconds after the kernel's start, by the guest's clock.
    pub seconds: f64,
}

/// The boot that has just ended with an answer of the API at `answered`: stage0's moments, every daemon ready, first answer.
///
/// The first answer is seen from outside; the guest's clock then follows from when its own lines came, since emulated time passes as
/// real time does.
///
/// # Errors
/// When the console lacks the lines.
pub fn moments(bmc: &Bmc, answered: Duration) -> Result<Vec<Moment>> {
    let lines = bmc.console()?.lines(0);
    read(&lines, answered).with_context(|| bmc.console().map(crate::Console::tail).unwrap_or_default())
}

fn read(lines: &[Line], answered: Duration) -> Result<Vec<Moment>> {
    let mut moments = Vec::new();
    let mut started: Option<Duration> = None;
    for line in lines {
        let Some((_, rest)) = line.text.split_once(STAGE0) else { continue };
        let Some((seconds, what)) = rest.split_once(' ') else { continue };
        let seconds: f64 = seconds.parse().with_context(|| format!("no time in {:?}", line.text))?;
        moments.push(Moment { what: format!("stage0: {what}"), seconds });
        // The line that was on its way for the shortest time knows best.
        let start = line.at.saturating_sub(Duration::try_from_secs_f64(seconds)?);
        started = Some(started.map_or(start, |known| known.min(start)));
    }
    let ready = lines.iter().rev().find(|line| line.text.contains(READY_LINE));
    let ready = ready.context("the operator was never ready")?;
    let ms =
        number(&ready.text, "kernel_to_ready_ms").context("the operator does not tell how long it took")?;
    moments.push(Moment { what: "operator: every daemon is ready".into(), seconds: ms / 1e3 });
    let started = started.context("stage0 tells no times")?;
    let seconds = answered.saturating_sub(started).as_secs_f64();
    moments.push(Moment { what: "the API's first answer".into(), seconds });
    Ok(moments)
}

/// The number after `key=` in a line of the log.
#[must_use]
pub fn number(line: &str, key: &str) -> Option<f64> {
    let (_, rest) = line.split_once(&format!("{key}="))?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_from_the_guests_own_clock() {
        let line = |at: u64, text: &str| Line { text: text.into(), at: Duration::from_millis(at) };
        let lines = [
            line(104_900, "[    4.1] kernel says something"),
            line(105_050, "u-bmc stage0: 5.000 started"),
            line(106_000, "u-bmc stage0: 5.990 slot a (confirmed), version 0.1.0"),
            line(112_000, "INFO operator: every daemon is ready kernel_to_ready_ms=11900 free_kib=900000"),
        ];
        let moments = read(&lines, Duration::from_millis(112_010)).unwrap();
        let seconds: Vec<f64> = moments.iter().map(|moment| moment.seconds).collect();
        assert_eq!(seconds, [5.0, 5.99, 11.9, 12.0]);
        assert_eq!(number(&lines[3].text, "free_kib"), Some(900_000.0));
        assert!(read(lines.get(..3).unwrap(), Duration::ZERO).is_err(), "never ready");
    }
}
