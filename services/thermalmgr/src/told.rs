//! What was told last, by the names of the board: kept over restarts, so that what lasts is not told a second time, and that it ended is told.

use std::collections::BTreeSet;

use board::{Board, Loops};
use thermal::{FanFault, Said, SensorFault};

/// Words for faults of sensors.
const OF_SENSORS: [(SensorFault, &str); 5] = [
    (SensorFault::NoData, "no-data"),
    (SensorFault::Stale, "stale"),
    (SensorFault::Missing, "missing"),
    (SensorFault::Implausible, "implausible"),
    (SensorFault::Hot, "hot"),
];
/// And of fans.
const OF_FANS: [(FanFault, &str); 5] = [
    (FanFault::Stuck, "stuck"),
    (FanFault::Slow, "slow"),
    (FanFault::Implausible, "implausible"),
    (FanFault::NoTach, "no-tach"),
    (FanFault::NotDriven, "not-driven"),
];

fn word<T: PartialEq>(words: &[(T, &'static str)], fault: &T) -> &'static str {
    words.iter().find(|(known, _)| known == fault).map_or("", |(_, word)| word)
}

fn fault<T: Copy>(words: &[(T, &'static str)], word: &str) -> Option<T> {
    words.iter().find(|(_, known)| *known == word).map(|(fault, _)| *fault)
}

/// What lasts of what was told: what it is, of what, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told(BTreeSet<(String, String, String)>);

impl Told {
    /// What the machine has told, by name.
    pub(crate) fn of(said: &Said, board: &Board, loops: &Loops) -> Self {
        let mut told = BTreeSet::new();
        let mut add = |what: &str, name: &str, how: &str| {
            told.insert((what.to_owned(), name.to_owned(), how.to_owned()));
        };
        let sensors = loops.sensors.iter().filter_map(|place| board.sensors.get(*place));
        for (sensor, told) in sensors.zip(&said.sensors) {
            if let Some(told) = told {
                add("sensor", sensor.id.as_str(), word(&OF_SENSORS, told));
            }
        }
        for (fan, told) in board.fans.iter().zip(&said.fans) {
            if let Some(told) = told {
                add("fan", fan.id.as_str(), word(&OF_FANS, told));
            }
        }
        for (index, zone) in board.zones.iter().enumerate() {
            let zone = zone.id.as_str();
            for (what, of) in
                [("failsafe", &said.failsafe), ("critical", &said.critical), ("refused", &said.refused)]
            {
                if of.get(index) == Some(&true) {
                    add(what, zone, "");
                }
            }
            // There is a group for each zone.
            let group = said.working.get(index).zip(loops.config.groups.get(index));
            if let Some((working, group)) = group
                && *working != group.fans.len()
            {
                add("working", zone, &working.to_string());
            }
        }
        Self(told)
    }

    /// That, for the machine of this board. What the board does not have any more is left out, what it has now and had not is well.
    pub(crate) fn said(&self, board: &Board, loops: &Loops) -> Said {
        let how = |what: &str, name: &str| {
            let of = self.0.iter().find(|(known, of, _)| known == what && of == name);
            of.map(|(_, _, how)| how.as_str())
        };
        let sensors = loops.sensors.iter().map(|place| {
            let sensor = board.sensors.get(*place)?;
            fault(&OF_SENSORS, how("sensor", sensor.id.as_str())?)
        });
        let fans = board.fans.iter().map(|fan| fault(&OF_FANS, how("fan", fan.id.as_str())?));
        let zones =
            |what| board.zones.iter().map(|zone| how(what, zone.id.as_str()).is_some()).collect::<Vec<_>>();
        let working = board.zones.iter().zip(&loops.config.groups).map(|(zone, group)| {
            let told = how("working", zone.id.as_str()).and_then(|how| how.parse().ok());
            told.map_or(group.fans.len(), |told: usize| told.min(group.fans.len()))
        });
        Said {
            sensors: sensors.collect(),
            fans: fans.collect(),
            failsafe: zones("failsafe"),
            critical: zones("critical"),
            refused: zones("refused"),
            working: working.collect(),
        }
    }

    /// As it stands in a file: how many lines, a sum of them, and then the lines.
    pub(crate) fn text(&self) -> String {
        let line = |(what, name, how): &(String, String, String)| {
            format!("{what} {name} {how}").trim_end().to_owned() + "\n"
        };
        let lines: String = self.0.iter().map(line).collect();
        format!("{} {:016x}\n{lines}", self.0.len(), sum(&lines))
    }

    /// What stands in a file; none of one that was cut, has a bit that turned or is something else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (head, lines) = text.split_once('\n')?;
        let (count, known) = head.split_once(' ')?;
        let line = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            Some((words.next()?, words.next()?, words.next().unwrap_or_default()))
        };
        let told: BTreeSet<_> = lines.lines().map(line).collect::<Option<_>>()?;
        (count == told.len().to_string() && known == format!("{:016x}", sum(lines))).then_some(Self(told))
    }
}

/// FNV-1a of 64 bits: against what a medium does, not against anybody.
fn sum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_told_is_read_as_it_was_written_and_by_name() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
        let board = Board::load(&file, &[]).unwrap();
        let loops = board.loops().unwrap();
        let well = Told::default().said(&board, &loops);
        assert!(
            well.working
                .iter()
                .zip(&loops.config.groups)
                .all(|(working, group)| *working == group.fans.len())
        );
        assert_eq!(
            (Told::of(&well, &board, &loops), well.sensors.len()),
            (Told::default(), loops.sensors.len())
        );
        let mut said = well;
        for (index, (fault, _)) in OF_SENSORS.iter().enumerate().take(said.sensors.len()) {
            said.sensors[index] = Some(*fault);
        }
        said.fans[1] = Some(FanFault::Stuck);
        (said.failsafe[0], said.critical[0], said.refused[0]) = (true, true, true);
        said.working[0] -= 1;
        let told = Told::of(&said, &board, &loops);
        assert_eq!(Told::parse(&told.text()), Some(told.clone()));
        assert_eq!(told.said(&board, &loops), said);
        assert!(told.text().contains("\nfan fan1 stuck\n"), "{}", told.text());
        let whole = told.text();
        for cut in ["", "1\n", "x\n", whole.trim_end(), "1 0\nfan\n", &whole[..whole.len() / 2]] {
            assert_eq!(Told::parse(cut), None, "{cut:?}");
        }
        for at in 0..whole.len() {
            let mut turned = whole.clone().into_bytes();
            turned[at] ^= 1;
            let turned = String::from_utf8_lossy(&turned).into_owned();
            assert_eq!(Told::parse(&turned), None, "{turned}");
        }
        // FNV's own test vectors (draft-eastlake-fnv, appendix C).
        assert_eq!(
            (sum(""), sum("a"), sum("foobar")),
            (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8)
        );
        for (known, word) in OF_FANS {
            assert_eq!(fault(&OF_FANS, word), Some(known));
        }
    }
}
