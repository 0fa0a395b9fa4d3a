//! A twin in the test's own process, and ways to see what it does.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use board::Board;
use hal::{Gpio, Initial, Line, OutputLine};
use hal_sim::{Control, SimGpio};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(90);

pub(crate) struct Twin {
    pub(crate) run_dir: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), twinsim::Error>>,
}

impl Twin {
    pub(crate) async fn start(board: Board, run_dir: &Path) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let config = twinsim::Config { board, run_dir: run_dir.to_owned() };
        let task = tokio::spawn(twinsim::serve(
            config,
            move || ready.send(()).expect("somebody waits"),
            async move {
                let _ = stopped.await;
            },
            async || std::future::pending().await,
        ));
        is_ready.await.expect("the twin serves");
        Self { run_dir: run_dir.to_owned(), stop, task }
    }

    pub(crate) fn gpio(&self, owner: &str) -> SimGpio {
        SimGpio::new(&self.run_dir.join(hal_sim::SOCKET), owner)
    }

    pub(crate) async fn control(&self) -> Control {
        Control::connect(&self.run_dir.join(hal_sim::CONTROL_SOCKET)).await.unwrap()
    }

    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
    }
}

pub(crate) async fn button(gpio: &impl Gpio, name: &str) -> Box<dyn OutputLine> {
    gpio.output(&Line { active_low: true, ..Line::named(name) }, Initial::AsIs, "test").await.unwrap()
}

pub(crate) async fn press(button: &dyn OutputLine) {
    button.set(true).await.unwrap();
    // As long as the host needs to see it, which is shown by what it does.
    tokio::time::sleep(Duration::from_millis(50)).await;
    button.set(false).await.unwrap();
}

pub(crate) fn load(name: &str, overrides: &[(&str, &str)]) -> Board {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets").join(name).join("board.toml");
    let overrides: Vec<_> = overrides.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Board::load(&path, &overrides).unwrap()
}

pub(crate) fn in_time<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let timed = tokio::time::timeout(LONG, future);
    async { timed.await.expect("in time") }
}

/// Reads the console until it has said all of `texts`, in order.
pub(crate) async fn said(console: &mut pipe::Receiver, texts: &[&str]) -> String {
    let mut heard = String::new();
    let mut from = 0;
    let mut buffer = [0; 512];
    for text in texts {
        while !heard[from..].contains(text) {
            let count = in_time(console.read(&mut buffer)).await.unwrap();
            heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        from += heard[from..].find(text).unwrap() + text.len();
    }
    heard
}

pub(crate) fn console(run_dir: &Path) -> pipe::Receiver {
    let file = std::fs::File::open(run_dir.join("console-system")).unwrap();
    rustix::io::ioctl_fionbio(&file, true).unwrap();
    pipe::Receiver::from_owned_fd_unchecked(file.into()).unwrap()
}
