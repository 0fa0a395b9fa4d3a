//! Notification lines: what a daemon tells the operator on stdout.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// Longest line taken from a daemon.
const LINE_MAX: usize = 1024;

/// One line of a daemon's stdout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notification {
    /// It serves now.
    Ready,
    /// What it is doing, for people.
    Status(String),
    /// Its main loop is alive.
    Heartbeat,
    /// It listens: name (`https`) and actual address.
    Listen(String, SocketAddr),
    /// It listens no more by the way in of this name (`ipmi`), and goes on.
    ListenEnded(String),
    /// The first-boot credential it made, `name:password`. Shown once, never logged.
    Credential(String),
    /// The fingerprint of the certificate it serves, `sha256:` and 64 hexadecimal digits.
    Certificate(String),
    /// What the controller is to be called.
    HostName(String),
    /// Something the kernel does not hold it to, for people.
    Unconfined(String),
    /// A file of its own is not as it should be: its path within the daemon's state directory, and what is wrong and became of it.
    Finding(String, String),
}

impl Notification {
    /// Reads a line without its newline; `None` for anything else.
    pub fn parse(line: &str) -> Option<Self> {
        if line.len() > LINE_MAX {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        match (key, value) {
            ("READY", "1") => Some(Self::Ready),
            ("WATCHDOG", "1") => Some(Self::Heartbeat),
            ("STATUS", text) => Some(Self::Status(text.to_owned())),
            ("LISTEN", value) => {
                let (name, address) = value.split_once(':')?;
                Some(Self::Listen(name.to_owned(), address.parse().ok()?))
            }
            ("LISTEN_ENDED", name) => Some(Self::ListenEnded(name.to_owned())),
            ("CERTIFICATE", value) => Some(Self::Certificate(value.to_owned())),
            ("HOSTNAME", name) => Some(Self::HostName(name.to_owned())),
            ("UNCONFINED", text) => Some(Self::Unconfined(text.to_owned())),
            ("FINDING", value) => {
                let (file, what) = value.split_once(':')?;
                Some(Self::Finding(file.to_owned(), what.to_owned()))
            }
            ("CREDENTIAL", value) if value.contains(':') => Some(Self::Credential(value.to_owned())),
            _ => None,
        }
    }

    /// The line without its newline.
    pub fn to_line(&self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Heartbeat => "WATCHDOG=1".to_owned(),
            Self::Status(text) => format!("STATUS={}", one_line(text)),
            Self::Listen(name, address) => format!("LISTEN={name}:{address}"),
            Self::ListenEnded(name) => format!("LISTEN_ENDED={}", one_line(name)),
            Self::Credential(text) => format!("CREDENTIAL={}", one_line(text)),
            Self::Certificate(text) => format!("CERTIFICATE={}", one_line(text)),
            Self::HostName(name) => format!("HOSTNAME={}", one_line(name)),
            Self::Unconfined(text) => format!("UNCONFINED={}", one_line(text)),
            Self::Finding(file, what) => {
                format!("FINDING={}", one_line(&format!("{}:{what}", file.replace(':', "_"))))
            }
        }
    }
}

/// The text as a line that is not too long, with paths as people know them: one through a descriptor of this process says nothing to others.
fn one_line(text: &str) -> String {
    let text = crate::log::as_known(text);
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    while line.len() > LINE_MAX - 16 {
        line.pop();
    }
    line
}

/// Sends notifications. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    sink: Sink,
}

#[derive(Clone, Debug)]
enum Sink {
    /// To the operator.
    Stdout,
    /// Run by hand: nobody parses stdout, so people read it in the log.
    Log,
    /// Into a test.
    Channel(Arc<tokio::sync::mpsc::UnboundedSender<Notification>>),
}

impl Notifier {
    /// To the operator, on stdout.
    pub(crate) fn stdout() -> Self {
        Self { sink: Sink::Stdout }
    }

    /// To the log: for a daemon run by hand.
    pub(crate) fn log() -> Self {
        Self { sink: Sink::Log }
    }

    /// Into a channel: for tests of a daemon.
    pub fn channel() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Notification>) {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { sink: Sink::Channel(Arc::new(sender)) }, receiver)
    }

    /// Sends `notification`. A failure is not an error: when the operator is gone, EOF on stdin says so.
    pub fn send(&self, notification: Notification) {
        match &self.sink {
            Sink::Stdout => {
                let line = format!("{}\n", notification.to_line());
                let mut out = std::io::stdout().lock();
                if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                    tracing::debug!("the operator does not listen any more");
                }
            }
            Sink::Log => match notification {
                Notification::Heartbeat => {}
                // By hand there is no operator to show it: this process's own terminal is the place.
                Notification::Credential(text) => {
                    let _ = writeln!(std::io::stderr().lock(), "first-boot credential: {text}");
                }
                other => tracing::info!(notification = %other.to_line(), "notification"),
            },
            Sink::Channel(sender) => {
                let _ = sender.send(notification);
            }
        }
    }

    /// Whether an operator listens; false when the daemon runs by hand.
    pub fn is_supervised(&self) -> bool {
        !matches!(self.sink, Sink::Log)
    }

    /// Says that the daemon serves now.
    pub fn ready(&self) {
        self.send(Notification::Ready);
    }

    /// Says what the daemon is doing.
    pub fn status(&self, text: impl Into<String>) {
        self.send(Notification::Status(text.into()));
    }

    /// Has the controller called `name`.
    pub fn host_name(&self, name: &str) {
        self.send(Notification::HostName(name.to_owned()));
    }

    /// Says that `file`, of the daemon's own in its state directory, is not as it should be: `what` is wrong, and became of it. It is told
    /// as an event and in the state of the system.
    pub fn finding(&self, file: &str, what: &str) {
        self.send(Notification::Finding(file.to_owned(), what.to_owned()));
    }

    /// Says where the daemon listens.
    pub fn listening(&self, name: &str, address: SocketAddr) {
        self.send(Notification::Listen(name.to_owned(), address));
    }

    /// Says that the daemon listens there no more, though it goes on.
    pub fn listening_ended(&self, name: &str) {
        self.send(Notification::ListenEnded(name.to_owned()));
    }

    /// Hands the fingerprint of the certificate that is served to the operator, which shows it on the console.
    pub fn certificate(&self, fingerprint: &str) {
        self.send(Notification::Certificate(fingerprint.to_owned()));
    }

    /// Hands the first-boot credential to the operator, which shows it once.
    pub fn credential(&self, username: &str, password: &str) {
        self.send(Notification::Credential(format!("{username}:{password}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read_back() {
        for notification in [
            Notification::Ready,
            Notification::Heartbeat,
            Notification::Status("reading pins".into()),
            Notification::Listen("https".into(), "127.0.0.1:43123".parse().unwrap()),
            Notification::Listen("https".into(), "[::1]:443".parse().unwrap()),
            Notification::ListenEnded("ipmi".into()),
            Notification::Credential("admin:a=b:c".into()),
            Notification::Certificate("sha256:ab".into()),
            Notification::HostName("bmc-0a1b".into()),
            Notification::Unconfined("the kernel has no Landlock".into()),
            Notification::Finding("tls/key.pem".into(), "it is damaged: made anew".into()),
        ] {
            assert_eq!(Notification::parse(&notification.to_line()), Some(notification));
        }
    }

    #[test]
    fn a_path_through_a_descriptor_is_told_as_people_know_it() {
        crate::log::known_as("/proc/self/fd/987654", std::path::Path::new("/var/lib/u-bmc/websrv"));
        let why = "/proc/self/fd/987654/tls/key.pem holds no usable private key";
        let finding = Notification::Finding("tls".into(), why.into()).to_line();
        assert_eq!(finding, "FINDING=tls:/var/lib/u-bmc/websrv/tls/key.pem holds no usable private key");
        let status = Notification::Status("see /proc/self/fd/987654/x".into()).to_line();
        assert_eq!(status, "STATUS=see /var/lib/u-bmc/websrv/x");
    }

    #[test]
    fn other_lines_are_nothing() {
        for line in ["", "READY", "READY=0", "hello", "LISTEN=https", "LISTEN=https:nowhere", "CREDENTIAL=x"]
        {
            assert_eq!(Notification::parse(line), None, "{line:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_status_is_always_one_line(text in any::<String>()) {
            let line = Notification::Status(text).to_line();
            prop_assert!(!line.contains('\n') && line.len() <= LINE_MAX);
            prop_assert!(Notification::parse(&line).is_some());
        }
    }
}
