//! `u-bmc nats`: the bus alone, as a process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// No answer takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bus {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        std::fs::write(&password, "secret\n").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_u-bmc"))
            .args(["nats", "--listen", "127.0.0.1:0", "--user", "admin", "--password-file"])
            .arg(&password)
            .arg("--store")
            .arg(dir.path().join("store"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let addr = loop {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended without saying where it listens");
            if let Some((_, rest)) = line.split_once("nats://") {
                let text: String =
                    rest.chars().take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':')).collect();
                break text.parse().unwrap();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Bus { child, addr, _dir: dir }
    }

    fn client(&self, password: &str) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client(BufReader::new(stream));
        client.send(&format!(
            "CONNECT {{\"verbose\":false,\"protocol\":1,\"user\":\"admin\",\"pass\":\"{password}\"}}\r\nPING\r\n"
        ));
        client
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn it_serves_its_user_and_leaves_when_asked() {
    let mut bus = Bus::start();
    let mut eve = bus.client("wrong");
    assert!(eve.line().contains("\"auth_required\":true"));
    assert_eq!(eve.line(), "-ERR 'Authorization Violation'\r\n");

    let mut admin = bus.client("secret");
    assert!(admin.line().contains("\"jetstream\":true"));
    assert_eq!(admin.line(), "PONG\r\n");
    assert!(admin.line().contains("\"connect_info\":true"));
    admin.send("SUB a 1\r\nPUB a 2\r\nhi\r\n");
    assert_eq!(admin.line(), "MSG a 1 2\r\n");
    assert_eq!(admin.line(), "hi\r\n");

    let pid = bus.child.id().to_string();
    assert!(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap().success());
    assert!(admin.line().contains("\"ldm\":true"));
    let mut rest = Vec::new();
    admin.0.read_to_end(&mut rest).unwrap();
    assert!(bus.child.wait().unwrap().success());
}

#[test]
fn it_refuses_to_be_open_to_other_machines() {
    let output = Command::new(env!("CARGO_BIN_EXE_u-bmc"))
        .args(["nats", "--listen", "0.0.0.0:0"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--password-file"));
}
