//! Lists that are followed by being asked for again and again, as they have no stream of their own: what differs is shown, a line each.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use prost::{Message, Name};
use tokio::time::{MissedTickBehavior, interval};

use crate::failure::Failure;
use crate::output::{Format, Output, Table};
use crate::reconnect::Reconnect;
use crate::text::time;

/// How often it is asked for. An answer comes from memory.
const EVERY: Duration = Duration::from_secs(2);

/// What was shown last of each, by its name.
#[derive(Debug, Default)]
struct Shown(BTreeMap<String, Vec<String>>);

impl Shown {
    /// The places of what differs in these rows, of which the first cell is the name; and the names of what is not listed any more.
    fn take(&mut self, rows: &[Vec<String>]) -> (Vec<usize>, Vec<String>) {
        let name = |row: &Vec<String>| row.first().cloned().unwrap_or_default();
        let gone: Vec<String> =
            self.0.keys().filter(|known| !rows.iter().any(|row| name(row) == **known)).cloned().collect();
        for name in &gone {
            self.0.remove(name);
        }
        let differ = rows.iter().enumerate().filter(|(_, row)| self.0.get(&name(row)) != Some(*row));
        let differ: Vec<usize> = differ.map(|(place, _)| place).collect();
        for row in differ.iter().filter_map(|place| rows.get(*place)) {
            self.0.insert(name(row), row.clone());
        }
        (differ, gone)
    }
}

/// Shows what is in a list and then what differs, until interrupted. `head` names the cells that `row` makes; the first is the name.
///
/// # Errors
/// The first question that is answered by one, and any that would not pass.
pub(crate) async fn follow<M: Message + Name>(
    output: Output,
    head: &[&'static str],
    mut list: impl AsyncFnMut() -> Result<Vec<M>, Failure>,
    row: impl Fn(&M) -> Vec<String>,
) -> Result<(), Failure> {
    let (mut shown, mut reconnect) = (Shown::default(), Reconnect::new());
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let all = match list().await {
            Ok(all) => all,
            Err(failure) => {
                reconnect.broken(Some(failure)).await?;
                continue;
            }
        };
        reconnect.works();
        let rows: Vec<Vec<String>> = all.iter().map(&row).collect();
        let (differ, gone) = shown.take(&rows);
        let at = time(Some(&prost_types::Timestamp::from(SystemTime::now())));
        for place in differ {
            let (Some(item), Some(row)) = (all.get(place), rows.get(place)) else { continue };
            match output.format {
                Format::Json => output.json_line(item)?,
                Format::Csv => {
                    let mut table = Table::new(head);
                    table.cells(row.iter().cloned());
                    let csv = table.csv();
                    output.text(&format!("{at},{}", csv.lines().nth(1).unwrap_or_default()))?;
                }
                Format::Table => {
                    let cells: Vec<&str> =
                        row.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
                    output.text(&format!("{at}  {}", cells.join("  ")))?;
                }
            }
        }
        for name in gone {
            output.text(&match output.format {
                Format::Json => serde_json::json!({ "gone": name }).to_string(),
                Format::Csv => format!("{at},{name},gone"),
                Format::Table => format!("{at}  {name}  gone"),
            })?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_once_and_what_went_is_named() {
        let row = |name: &str, state: &str| vec![name.to_owned(), state.to_owned()];
        let mut shown = Shown::default();
        let first = [row("a", "ok"), row("b", "ok")];
        assert_eq!(shown.take(&first), (vec![0, 1], Vec::new()));
        assert_eq!(shown.take(&first), (Vec::new(), Vec::new()));
        assert_eq!(shown.take(&[row("a", "ok"), row("b", "hot")]), (vec![1], Vec::new()));
        assert_eq!(shown.take(&[row("b", "hot")]), (Vec::new(), vec!["a".to_owned()]));
        assert_eq!(shown.take(&first), (vec![0, 1], Vec::new()));
    }
}
