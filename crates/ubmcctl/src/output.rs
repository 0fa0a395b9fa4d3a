//! Tables for people, JSON for programs.

use std::io::{IsTerminal as _, Write};

use prost::{Message, Name};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr};

use crate::failure::Failure;
use crate::text::clean;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// The proto3 JSON of the reply.
    Json,
    /// The columns separated by commas (RFC 4180), for spreadsheets; what is no table is written as for people.
    Csv,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Without colours.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self(false);

    fn allowed() -> bool {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    pub(crate) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && Self::allowed())
    }

    pub(crate) fn for_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && Self::allowed())
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    fn tone(self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Head => self.with("1", text),
            Tone::Good => self.with("32", text),
            Tone::Busy => self.with("33", text),
            Tone::Bad => self.with("31", text),
            Tone::Dim => self.with("2", text),
        }
    }
}

/// What a cell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Head,
    Good,
    Busy,
    Bad,
    Dim,
}

impl Tone {
    /// By the words for states.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "on" | "ok" | "ready" | "enabled" | "done" | "yes" => Self::Good,
            "transitioning" | "starting" | "stopping" | "waiting" | "backoff" | "warning" | "running"
            | "not-ready" | "updating" | "quiesced" => Self::Busy,
            "error" | "failed" | "critical" | "degraded" | "locked" => Self::Bad,
            "off" | "stopped" | "unspecified" | "unknown" | "-" | "no" | "disabled" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

/// Rows under a head, in as many columns as a terminal has. What does not fit in its column goes on below; nothing is cut off.
#[derive(Debug, Default)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<(String, Tone)>>,
    empty: &'static str,
}

/// Columns of a terminal that does not tell.
const WIDTH: usize = 80;
/// No column is made narrower, unless what is in it is.
const NARROW: usize = 8;
/// Between columns.
const GAP: usize = 2;

impl Table {
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), empty: "nothing" }
    }

    /// What is said when there are no rows.
    pub(crate) fn empty(mut self, words: &'static str) -> Self {
        self.empty = words;
        self
    }

    /// A row; cells that are states get their colour by what they say.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into_iter());
    }

    /// A row of as many cells as the head has.
    pub(crate) fn cells(&mut self, cells: impl Iterator<Item = String>) {
        let cells = cells.map(|cell| {
            let cell = clean(&cell).replace('\n', " ");
            let cell = if cell.is_empty() { "-".to_owned() } else { cell };
            let tone = Tone::of(&cell);
            (cell, tone)
        });
        self.rows.push(cells.collect());
    }

    /// All columns, separated by commas.
    pub(crate) fn csv(&self) -> String {
        let quoted = |cell: &str| {
            // A spreadsheet takes what begins so for a formula.
            let formula = cell.starts_with(['=', '+', '@'])
                || cell.starts_with('-') && cell.len() > 1 && cell.parse::<f64>().is_err();
            let cell = if formula { format!("'{cell}") } else { cell.to_owned() };
            if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
        };
        let head = self.head.iter().map(|name| quoted(&name.to_lowercase())).collect::<Vec<_>>().join(",");
        let rows = self.rows.iter().map(|row| {
            let cells = row.iter().map(|(cell, _)| if cell == "-" { String::new() } else { quoted(cell) });
            cells.collect::<Vec<_>>().join(",")
        });
        std::iter::once(head).chain(rows).fold(String::new(), |text, line| text + &line + "\r\n")
    }

    pub(crate) fn write(&self, out: &mut impl Write, paint: Paint, width: usize) -> std::io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let head: Vec<(String, Tone)> =
            self.head.iter().map(|name| ((*name).to_owned(), Tone::Head)).collect();
        // A column in which no row says anything is left out, but for the first.
        let shown: Vec<usize> = (0..self.head.len())
            .filter(|column| {
                *column == 0
                    || self.rows.iter().any(|row| row.get(*column).is_some_and(|(cell, _)| cell != "-"))
            })
            .collect();
        let lines: Vec<Vec<&(String, Tone)>> = std::iter::once(&head)
            .chain(&self.rows)
            .map(|line| shown.iter().filter_map(|column| line.get(*column)).collect())
            .collect();
        let widths = widths(&lines, shown.len(), width);
        for line in &lines {
            let cells: Vec<(Vec<String>, Tone)> = line
                .iter()
                .zip(&widths)
                .map(|((cell, tone), width)| (wrapped(cell, *width), *tone))
                .collect();
            let height = cells.iter().map(|(parts, _)| parts.len()).max().unwrap_or(1);
            for at in 0..height {
                let mut text = String::new();
                let mut pad = 0;
                for ((parts, tone), width) in cells.iter().zip(&widths) {
                    let part = parts.get(at).map_or("", String::as_str);
                    if !part.is_empty() {
                        text.extend(std::iter::repeat_n(' ', pad));
                        text.push_str(&paint.tone(*tone, part));
                        pad = 0;
                    }
                    pad += width.saturating_sub(part.width()) + GAP;
                }
                writeln!(out, "{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// How wide each column is, so that together they are not wider than `width` if that can be: the widest gives way first.
fn widths(lines: &[Vec<&(String, Tone)>], columns: usize, width: usize) -> Vec<usize> {
    let longest = |column: usize, of: fn(&str) -> usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|(cell, _)| of(cell)).max().unwrap_or(0)
    };
    let word = |cell: &str| cell.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..columns).map(|column| longest(column, UnicodeWidthStr::width)).collect();
    let words: Vec<usize> = (0..columns).map(|column| longest(column, word)).collect();
    let room = width.saturating_sub(GAP * columns.saturating_sub(1));
    // At blanks first, then within words: an id in one piece is worth more than a line.
    for least in [words, vec![NARROW; columns]] {
        while widths.iter().sum::<usize>() > room {
            let widest = (0..columns).filter(|column| widths.get(*column) > least.get(*column));
            // The first column and that of ids are what one types again.
            let gives = |column: &usize| {
                *column > 0
                    && lines.first().and_then(|head| head.get(*column)).is_some_and(|(name, _)| name != "ID")
            };
            let Some(column) = widest.max_by_key(|column| (gives(column), widths.get(*column).copied()))
            else {
                break;
            };
            if let Some(width) = widths.get_mut(column) {
                *width -= 1;
            }
        }
    }
    widths
}

/// A cell in lines of at most `width` columns of a terminal, broken at blanks where there are some.
fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line) = (Vec::new(), String::new());
    let mut used = 0;
    for word in cell.split(' ') {
        let length = word.width();
        if used > 0 && used + 1 + length > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if used > 0 && used + columns > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
    }
    lines.push(line);
    lines
}

/// Columns of the terminal our answers go to. What goes into a file or a program has a line a row, as long as it may be.
fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        return usize::MAX;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map_or(WIDTH, |size| size.ws_col.into()).max(40)
}

/// Names and values of one thing.
#[derive(Debug, Default)]
pub(crate) struct Card(Vec<(&'static str, String)>);

impl Card {
    /// Adds a line when there is something to say.
    pub(crate) fn line(&mut self, name: &'static str, value: impl Into<String>) -> &mut Self {
        let value = value.into();
        if !value.is_empty() && value != "-" {
            self.0.push((name, value));
        }
        self
    }

    pub(crate) fn write(&self, out: &mut impl Write, paint: Paint) -> std::io::Result<()> {
        let width = self.0.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
        for (name, value) in &self.0 {
            let value = clean(value);
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            let pad = " ".repeat(width - name.width() + 2);
            writeln!(out, "{}{pad}{}", paint.tone(Tone::Head, name), paint.tone(Tone::of(first), first))?;
            for more in lines {
                writeln!(out, "{}{more}", " ".repeat(width + 2))?;
            }
        }
        Ok(())
    }
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) paint: Paint,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, paint: Paint::for_stdout() }
    }

    /// The reply as JSON, or what `table` makes of it.
    pub(crate) fn reply<M: Message + Name>(
        self,
        reply: &M,
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(reply),
            Format::Table | Format::Csv => self.table(&table()),
        }
    }

    /// A table; one without rows is told on stderr.
    pub(crate) fn table(self, table: &Table) -> Result<(), Failure> {
        if self.format == Format::Csv {
            return Ok(std::io::stdout().lock().write_all(table.csv().as_bytes())?);
        }
        if table.rows.is_empty() {
            note(table.empty);
        }
        Ok(table.write(&mut std::io::stdout().lock(), self.paint, terminal_width())?)
    }

    /// The reply as JSON, or a card.
    pub(crate) fn card<M: Message + Name>(
        self,
        reply: &M,
        card: impl FnOnce() -> Card,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(reply),
            Format::Table | Format::Csv => Ok(card().write(&mut std::io::stdout().lock(), self.paint)?),
        }
    }

    /// The reply as JSON, or one line.
    pub(crate) fn line<M: Message + Name>(
        self,
        reply: &M,
        line: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(reply),
            Format::Table | Format::Csv => self.text(&line()),
        }
    }

    /// One line of text.
    pub(crate) fn text(self, line: &str) -> Result<(), Failure> {
        Ok(writeln!(std::io::stdout().lock(), "{}", clean(line))?)
    }

    /// Indented JSON of a reply.
    pub(crate) fn json<M: Message + Name>(self, reply: &M) -> Result<(), Failure> {
        self.value(&to_json(reply)?)
    }

    /// Indented JSON.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)
            .map_err(|error| Failure::from(std::io::Error::from(error)))?;
        Ok(writeln!(out)?)
    }

    /// One line of JSON.
    pub(crate) fn json_line<M: Message + Name>(self, message: &M) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &to_json(message)?)
            .map_err(|error| Failure::from(std::io::Error::from(error)))?;
        writeln!(out)?;
        Ok(out.flush()?)
    }
}

fn to_json<M: Message + Name>(message: &M) -> Result<Value, Failure> {
    schema::to_json(message).map_err(|error| Failure::Local(format!("the answer has no JSON form: {error}")))
}

/// A word to the person at the terminal; programs read stdout.
pub(crate) fn note(text: &str) {
    let _gone = writeln!(std::io::stderr().lock(), "{}", clean(text));
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::{Card, Paint, Table, Tone};

    fn plain(table: &Table, paint: Paint) -> String {
        let mut out = Vec::new();
        table.write(&mut out, paint, 80).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_fit_and_nothing_is_cut_off() {
        let mut table = Table::new(&["NAME", "EMPTY", "ID", "MESSAGE", "BY"]);
        let id = "0123456789abcdef0123456789abcdef";
        let message = "the operating system did not shut down in three hundred seconds: größer";
        table.row(["system".into(), String::new(), id.into(), message.into(), "administrator".into()]);
        table.row(["h".into(), String::new(), String::new(), String::new(), "x".repeat(100)]);
        for width in [40, 60, 80, 120] {
            let mut out = Vec::new();
            table.write(&mut out, Paint::PLAIN, width).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(text.lines().all(|line| !line.ends_with(' ')) && !text.contains("EMPTY"), "{text}");
            for word in message.split(' ').filter(|word| word.len() <= 8) {
                assert!(text.contains(word), "{word} in\n{text}");
            }
            assert_eq!(text.matches('x').count(), 100);
            assert!(width < 80 || text.contains(id), "{text}");
        }
    }

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_space() {
        let mut table = Table::new(&["NAME", "STATUS", "DESCRIPTION"]);
        table.row(["system".into(), "on".into(), String::new()]);
        table.row(["host1".into(), "transitioning".into(), "größer".into()]);
        assert_eq!(
            plain(&table, Paint::PLAIN),
            "NAME    STATUS         DESCRIPTION\nsystem  on             -\nhost1   transitioning  größer\n"
        );
        assert_eq!(plain(&Table::new(&["NAME"]), Paint::PLAIN), "");
    }

    #[test]
    fn wide_characters_take_the_columns_they_are_shown_in() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["内存".into(), "on".into()]);
        table.row(["é".into(), "off".into()]);
        table.row(["e\u{301}".into(), "off".into()]);
        assert_eq!(plain(&table, Paint::PLAIN), "NAME  STATUS\n内存  on\né     off\ne\u{301}     off\n");
        let mut long = Table::new(&["NAME", "NOTE"]);
        long.row(["x".into(), "内".repeat(50)]);
        let mut out = Vec::new();
        long.write(&mut out, Paint::PLAIN, 40).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.width() <= 40), "{text}");
        assert_eq!(text.matches('内').count(), 50);
    }

    #[test]
    fn what_is_separated_by_commas_can_be_read_back_and_is_no_formula() {
        let mut table = Table::new(&["ID", "NOTE"]);
        table.row(["cpu0_temp".into(), "a, \"b\"".into()]);
        table.row(["=1+1".into(), "-5.5".into()]);
        table.row(["x".into(), String::new()]);
        assert_eq!(table.csv(), "id,note\r\ncpu0_temp,\"a, \"\"b\"\"\"\r\n'=1+1,-5.5\r\nx,\r\n");
    }

    #[test]
    fn colours_do_not_shift_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["on".into(), "x".into()]);
        let coloured = plain(&table, Paint(true));
        assert!(coloured.contains("\u{1b}[32mon\u{1b}[0m  x"), "{coloured:?}");
    }

    #[test]
    fn cells_cannot_drive_the_terminal_or_break_lines() {
        let mut table = Table::new(&["A"]);
        table.row(["a\u{1b}]0;x\u{7}\nb".into()]);
        let text = plain(&table, Paint::PLAIN);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text:?}");
    }

    #[test]
    fn a_card_leaves_out_what_is_not_known() {
        let mut card = Card::default();
        card.line("Name", "system").line("Uptime", "-").line("Note", "").line("Output", "one\ntwo");
        let mut out = Vec::new();
        card.write(&mut out, Paint::PLAIN).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "Name    system\nOutput  one\n        two\n");
    }

    #[test]
    fn states_have_tones() {
        assert_eq!(
            (Tone::of("on"), Tone::of("error"), Tone::of("system")),
            (Tone::Good, Tone::Bad, Tone::Plain)
        );
    }
}
