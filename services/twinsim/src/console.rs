//! A host's serial port as a pseudo-terminal that outlives the host's operating systems.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Text kept while nobody reads. What is older is lost, as on a real serial line.
const KEPT_MAX: usize = 64 * 1024;

/// Chunks on their way to the terminal.
const QUEUE: usize = 64;

/// The near end of a console. Dropping it takes the link away.
#[derive(Debug)]
pub(crate) struct Console {
    link: PathBuf,
    output: mpsc::Sender<Vec<u8>>,
}

impl Console {
    /// Makes the terminal and the link `link` to it. What is typed there is sent to `typed`, made into an event by `wrap`.
    pub(crate) fn open<E: Send + 'static>(
        link: &Path,
        typed: mpsc::Sender<E>,
        wrap: impl Fn(Vec<u8>) -> E + Send + 'static,
    ) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let name = name.to_str().map_err(|_| io::Error::other("the terminal has no readable name"))?;
        // Held open here: a terminal whose far end nobody has open reports an error instead of waiting.
        let far = File::options().read(true).write(true).open(name)?;
        let mut settings = tcgetattr(&far)?;
        settings.make_raw();
        tcsetattr(&far, OptionalActions::Now, &settings)?;
        share(&far, link);
        rustix::io::ioctl_fionbio(&master, true)?;
        match std::fs::remove_file(link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(name, link)?;
        let (output, chunks) = mpsc::channel(QUEUE);
        // Not a pipe, but a terminal's near end is read, written and waited for just as one.
        let from = pipe::Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
        let to = pipe::Sender::from_owned_fd_unchecked(master)?;
        let terminal = Terminal { from, to, far, kept: VecDeque::new() };
        tokio::spawn(terminal.run(chunks, typed, wrap));
        Ok(Self { link: link.to_owned(), output })
    }

    /// Text from the host. Lost when the terminal is swamped.
    pub(crate) fn write(&self, bytes: Vec<u8>) {
        if self.output.try_send(bytes).is_err() {
            tracing::debug!(console = %self.link.display(), "console text lost");
        }
    }
}

/// Lets the group of the folder of consoles use the terminal: who serves it may be another user. Whoever may not give it away serves it himself.
fn share(far: &File, link: &Path) {
    let Some(Ok(folder)) = link.parent().map(std::fs::metadata) else { return };
    let group = rustix::fs::Gid::from_raw(std::os::unix::fs::MetadataExt::gid(&folder));
    let shared = rustix::fs::fchown(far, None, Some(group))
        .and_then(|()| rustix::fs::fchmod(far, rustix::fs::Mode::from_raw_mode(0o660)));
    if let Err(error) = shared {
        tracing::debug!(console = %link.display(), %error, "the terminal stays its maker's");
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.link) {
            tracing::debug!(console = %self.link.display(), %error, "the console's link stays");
        }
    }
}

#[derive(Debug)]
struct Terminal {
    from: pipe::Receiver,
    to: pipe::Sender,
    far: File,
    kept: VecDeque<u8>,
}

impl Terminal {
    async fn run<E>(
        mut self,
        mut chunks: mpsc::Receiver<Vec<u8>>,
        typed: mpsc::Sender<E>,
        wrap: impl Fn(Vec<u8>) -> E,
    ) {
        let mut buffer = [0; 1024];
        loop {
            let waiting = !self.kept.is_empty();
            let done = tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => {
                        self.keep(&chunk);
                        Ok(())
                    }
                    None => return,
                },
                count = self.from.read(&mut buffer) => match count {
                    Ok(count) => {
                        let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                        if typed.send(wrap(bytes)).await.is_err() {
                            return;
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                written = self.to.write(self.kept.as_slices().0), if waiting => {
                    written.map(|count| drop(self.kept.drain(..count)))
                }
            };
            if let Err(error) = done {
                tracing::error!(%error, "simulated console failed");
                return;
            }
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        self.kept.extend(chunk);
        let over = self.kept.len().saturating_sub(KEPT_MAX);
        if over > 0 {
            self.kept.drain(..over);
            // What the kernel holds is older still; kept, it would stand before a gap.
            if let Err(error) = tcflush(&self.far, QueueSelector::IFlush) {
                tracing::debug!(%error, "old console text stays in the kernel");
            }
        }
    }
}
