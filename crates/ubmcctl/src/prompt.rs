//! Asking the person at the terminal, and reading secrets from where they are kept.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Longer than any password the API takes: a wrong file must not be read whole.
const MAX_SECRET: u64 = 4_096;

/// The first line of a file, whatever ends it; `-` is standard input, each time its next line.
pub(crate) async fn secret_from(path: &Path) -> Result<String, Failure> {
    let path = path.to_owned();
    // A pipe nobody writes to must not keep Ctrl-C from ending us.
    let read = tokio::task::spawn_blocking(move || first_line(&path));
    read.await.map_err(|error| Failure::Local(format!("password file: {error}")))?
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_SECRET + 1).read_until(b'\n', &mut bytes)
    } else {
        File::open(path)
            .and_then(|file| BufReader::new(file.take(MAX_SECRET + 1)).read_until(b'\n', &mut bytes))
    };
    read.map_err(|error| Failure::Usage(format!("cannot read the password from {shown}: {error}")))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(Failure::Usage(format!(
            "the first line of {shown} is longer than any password: is it the right file?"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::Usage(format!("the first line of {shown} is not UTF-8: save the file as UTF-8 text"))
    })?;
    // Some editors begin a file with a byte order mark.
    let secret = text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(Failure::Usage(format!("{shown} holds no password in its first line")));
    }
    Ok(secret.to_owned())
}

/// Puts the terminal back as it was, however the prompt ends.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // The terminal is gone if this fails, and with it what we would restore.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

fn terminal() -> Result<File, Failure> {
    OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
        Failure::Usage(
            "there is no terminal to ask for a password: give --password-file FILE (- is standard input)"
                .into(),
        )
    })
}

/// Asks for a secret without showing it. Not by `rpassword`: its call cannot be left, so that Ctrl-C would leave the terminal silent.
pub(crate) async fn secret(question: &str) -> Result<String, Failure> {
    let terminal = terminal()?;
    let before = tcgetattr(&terminal).map_err(|error| Failure::Local(format!("terminal: {error}")))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
    // Held by the waiting task: when Ctrl-C ends the wait, the drop restores the echo at once.
    let quiet = Quiet { terminal: terminal.try_clone()?, before };
    tcsetattr(&quiet.terminal, OptionalActions::Flush, &silent)
        .map_err(|error| Failure::Local(format!("terminal: {error}")))?;
    let answer = line(terminal, question).await?;
    drop(quiet);
    if answer.is_empty() {
        return Err(Failure::Usage("no password given".into()));
    }
    Ok(answer)
}

/// Asks for a new secret twice.
pub(crate) async fn new_secret(whose: &str) -> Result<String, Failure> {
    let first = secret(&format!("New password for {whose}: ")).await?;
    let second = secret("Once more: ").await?;
    if first != second {
        return Err(Failure::Usage("the two passwords differ".into()));
    }
    Ok(first)
}

/// Asks for yes or no; no without a terminal.
pub(crate) async fn confirm(question: &str) -> Result<bool, Failure> {
    let Ok(terminal) = terminal() else { return Ok(false) };
    let answer = line(terminal, &format!("{question} [y/N] ")).await?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

/// Asks for a line.
pub(crate) async fn ask(question: &str) -> Result<String, Failure> {
    let answer = line(terminal()?, question).await?;
    if answer.is_empty() { Err(Failure::Usage("nothing given".into())) } else { Ok(answer) }
}

async fn line(mut terminal: File, question: &str) -> Result<String, Failure> {
    terminal.write_all(question.as_bytes())?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        BufReader::new(terminal.take(MAX_SECRET)).read_line(&mut text).map(|_| text)
    });
    let text = read.await.map_err(|error| Failure::Local(format!("prompt: {error}")))??;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{MAX_SECRET, first_line};

    #[test]
    fn a_secret_is_the_first_line_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let longest = "a".repeat(usize::try_from(MAX_SECRET).unwrap());
        for (content, expected) in [
            ("secret\n", Some("secret")),
            ("secret", Some("secret")),
            ("with space \r\nmore\n", Some("with space ")),
            ("\u{feff}größer\r\n", Some("größer")),
            ("", None),
            ("\r\n", None),
            ("\nx", None),
            (longest.as_str(), Some(longest.as_str())),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(first_line(&path).ok().as_deref(), expected, "{content:?}");
        }
        for (content, words) in
            [(vec![b'p', 0xe9, b'\n'], "not UTF-8"), (vec![b'a'; longest.len() + 1], "longer than any")]
        {
            std::fs::write(&path, content).unwrap();
            let failure = first_line(&path).unwrap_err();
            assert!(failure.exit_code() == 2 && failure.to_string().contains(words), "{failure}");
        }
        for path in [dir.path().join("missing"), dir.path().to_owned()] {
            assert_eq!(first_line(&path).unwrap_err().exit_code(), 2);
        }
    }
}
