//! What is wrong with a board file, shown with file, line and column.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::tree::{Fault, Origin};
use crate::types::Board;

/// The result of checking a board file. Displayed, it is what `u-bmc check` prints.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    problems: Vec<Problem>,
    board: Option<Board>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `None` for the file as a whole.
    pub place: Place,
    /// What, and what would be right.
    pub message: String,
    /// The line of the file, for showing.
    excerpt: Option<Excerpt>,
}

/// Where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole: it cannot be read.
    File,
    /// A position in the file, both counted from 1; the column counts characters.
    Position {
        /// The line.
        line: usize,
        /// The character on it.
        column: usize,
    },
    /// An override, as it was given.
    Override(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    /// Characters of it before the place.
    indent: usize,
    width: usize,
}

/// Characters of a line that are shown, and of these before the place.
const SHOWN: usize = 160;
const BEFORE: usize = 80;

impl Report {
    /// A report of a file that could not be read.
    pub(crate) fn unreadable(path: &Path, reason: String) -> Self {
        let problem = Problem { place: Place::File, message: reason, excerpt: None };
        Self { path: path.to_owned(), problems: vec![problem], board: None }
    }

    pub(crate) fn new(
        path: &Path,
        text: &str,
        overrides: &[(String, String)],
        mut faults: Vec<Fault>,
        board: Option<Board>,
    ) -> Self {
        faults.sort_by_key(|fault| match &fault.at {
            Origin::File(span) => span.start,
            Origin::Override(index) => text.len() + 1 + index,
        });
        faults.dedup();
        let problems = faults
            .into_iter()
            .map(|fault| match fault.at {
                Origin::File(span) => locate(text, span.start, span.end, fault.message),
                Origin::Override(index) => {
                    let given = overrides.get(index).map(|(key, value)| format!("{key}={value}"));
                    let place = Place::Override(given.unwrap_or_default());
                    Problem { place, message: fault.message, excerpt: None }
                }
            })
            .collect();
        Self { path: path.to_owned(), problems, board }
    }

    /// The board, when nothing is wrong.
    pub fn board(&self) -> Option<&Board> {
        self.board.as_ref().filter(|_| self.problems.is_empty())
    }

    /// The board when nothing is wrong, or else the report.
    pub fn into_board(self) -> Result<Board, Box<Self>> {
        match self.board {
            Some(board) if self.problems.is_empty() => Ok(board),
            board => Err(Box::new(Self { board, ..self })),
        }
    }

    /// What is wrong, in the order of the file, overrides last.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The exit code of `u-bmc check`: 0, or 64 (bad configuration).
    pub fn exit_code(&self) -> u8 {
        if self.board().is_some() { 0 } else { 64 }
    }
}

fn locate(text: &str, start: usize, end: usize, message: String) -> Problem {
    let start = floor(text, start);
    let end = floor(text, end).max(start);
    let before = text.get(..start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = text.get(line_start..start).unwrap_or_default().chars().count() + 1;
    let shown = text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
    let line_end = line_start + shown.len();
    let width = text.get(start..end.min(line_end).max(start)).unwrap_or_default().chars().count().max(1);
    // Around the place, where a line is long; and what moves a terminal's cursor is shown and not done.
    let first = column.saturating_sub(BEFORE + 1);
    let shown = shown.chars().skip(first).take(SHOWN);
    let text: String = shown.map(|char| if char.is_control() { ' ' } else { char }).collect();
    let indent = column - 1 - first;
    let width = width.min(text.chars().count().saturating_sub(indent)).max(1);
    let excerpt = Some(Excerpt { text, indent, width });
    Problem { place: Place::Position { line, column }, message, excerpt }
}

/// The last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for problem in &self.problems {
            let message = &problem.message;
            match &problem.place {
                Place::File => writeln!(f, "{path}: {message}")?,
                Place::Override(given) => writeln!(f, "--set {given}: {message}")?,
                Place::Position { line, column } => {
                    writeln!(f, "{path}:{line}:{column}: {message}")?;
                    if let Some(excerpt) = &problem.excerpt
                        && !excerpt.text.trim().is_empty()
                    {
                        let number = line.to_string();
                        writeln!(f, "  {number} | {}", excerpt.text)?;
                        let margin = " ".repeat(number.len());
                        let indent = " ".repeat(excerpt.indent);
                        writeln!(f, "  {margin} | {indent}{}", "^".repeat(excerpt.width))?;
                    }
                }
            }
        }
        match (self.problems.len(), self.board()) {
            (0, Some(board)) => {
                let hosts: Vec<&str> = board.hosts.iter().map(|host| host.id.as_str()).collect();
                let lines: usize = board.hosts.iter().map(|host| host.power.lines().count()).sum();
                writeln!(
                    f,
                    "{path}: board {} ({} {}, hal {}) is right: {} ({}), {lines} GPIO lines",
                    board.name,
                    board.vendor,
                    board.model,
                    board.hal.as_str(),
                    if hosts.len() == 1 { "1 host".to_owned() } else { format!("{} hosts", hosts.len()) },
                    hosts.join(", "),
                )
            }
            (1, _) => writeln!(f, "1 problem"),
            (count, _) => writeln!(f, "{count} problems"),
        }
    }
}
