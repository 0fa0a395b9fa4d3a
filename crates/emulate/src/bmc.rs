//! A BMC that runs an image, with the server around it: what tests and `cargo xtask emulate` use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use board::Board;
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Client, Credential, Reply};

use crate::console::Console;
use crate::machine::{Disks, Machine, Options};
use crate::names::line_names;
use crate::pins::{plugs, wires};
use crate::qmp::Qmp;
use crate::surroundings::Surroundings;

/// What the operator logs when every daemon is ready.
pub const READY_LINE: &str = "every daemon is ready";

/// Longest wait from the first instruction to an API that answers: ten times what it takes on a quiet machine.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);
/// Longest wait for one answer while the BMC may be on its way up or down.
const ASK_LIMIT: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Debug)]
pub struct Builder {
    folder: PathBuf,
    board: PathBuf,
    options: Options,
    running: bool,
}

impl Builder {
    /// Another word for the kernel's command line.
    #[must_use]
    pub fn append(mut self, word: impl Into<String>) -> Self {
        self.options.append.push(word.into());
        self
    }

    /// Another argument for QEMU.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.options.args.push(arg.into());
        self
    }

    /// This port on 127.0.0.1 for HTTPS.
    #[must_use]
    pub fn https(mut self, port: u16) -> Self {
        self.options.https = Some(port);
        self
    }

    /// The server is on already when the BMC starts.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.running = true;
        self
    }

    /// Copies the disks and makes the server, and starts nothing yet.
    ///
    /// # Errors
    /// When the folder holds no image, or the image's device tree lacks a line of the board.
    pub fn prepare(self) -> Result<Bmc> {
        let disks = Disks::copy(&self.folder)?;
        let board = Board::load(&self.board, &[])?;
        let blob = disks.path().join("board.dtb");
        let blob = std::fs::read(&blob).with_context(|| format!("cannot read {}", blob.display()))?;
        let names = line_names(&blob)?;
        let wires = wires(&board, &names)?;
        let surroundings = Surroundings::new(&board, wires, plugs(&board, &names)?, self.running);
        Ok(Bmc { disks, options: self.options, surroundings, machine: None, board })
    }

    /// Copies the disks and lets the BMC run.
    ///
    /// # Errors
    /// As [`Builder::prepare`] and [`Bmc::boot`].
    pub async fn start(self) -> Result<Bmc> {
        let mut bmc = self.prepare()?;
        bmc.boot().await?;
        Ok(bmc)
    }
}

/// A BMC, running or not, with its disks and the server around it.
#[derive(Debug)]
pub struct Bmc {
    disks: Disks,
    options: Options,
    surroundings: Surroundings,
    machine: Option<Machine>,
    board: Board,
}

impl Bmc {
    /// A BMC that runs the image in `folder`. The board is `vendor/board`, as below `targets/`.
    #[must_use]
    pub fn builder(folder: &Path, board: &str) -> Builder {
        let board = testkit::root().join("targets").join(board).join("board.toml");
        Builder { folder: folder.to_owned(), board, options: Options::default(), running: false }
    }

    /// Powers the BMC on.
    ///
    /// # Errors
    /// When it runs already, or QEMU does not start.
    pub async fn boot(&mut self) -> Result<()> {
        if self.machine.is_some() {
            bail!("it runs already");
        }
        let machine = Machine::start(&self.disks, &self.options).await?;
        self.surroundings.attach(machine.qmp.clone()).await?;
        machine.go().await?;
        self.machine = Some(machine);
        Ok(())
    }

    /// Takes the power from the BMC, not from the server.
    ///
    /// # Errors
    /// When QEMU cannot be killed.
    pub async fn cut(&mut self) -> Result<()> {
        self.surroundings.detach().await;
        match self.machine.take() {
            Some(machine) => machine.kill().await,
            None => Ok(()),
        }
    }

    /// What the board file says.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The server around it.
    #[must_use]
    pub fn server(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Where its disks are; to be changed only while it has no power.
    #[must_use]
    pub fn disks(&self) -> &Path {
        self.disks.path()
    }

    /// The running QEMU.
    ///
    /// # Errors
    /// When it has no power.
    pub fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().context("the BMC has no power")
    }

    /// QEMU's monitor.
    ///
    /// # Errors
    /// When it has no power.
    pub fn qmp(&self) -> Result<&Qmp> {
        Ok(&self.machine()?.qmp)
    }

    /// Its console.
    ///
    /// # Errors
    /// When it has no power.
    pub fn console(&self) -> Result<&Console> {
        Ok(&self.machine()?.console)
    }

    /// A client of its API.
    ///
    /// # Errors
    /// When it has no power.
    pub fn client(&self, credential: Credential) -> Result<Client> {
        Ok(Client::new(&self.machine()?.https, credential))
    }

    /// A client that is the administrator once [`Bmc::first_login`] was made, in this boot or in one before.
    ///
    /// # Errors
    /// When it has no power.
    pub fn admin(&self) -> Result<Client> {
        self.client(Credential::Basic("admin".into(), ADMIN_PASSWORD.into()))
    }

    /// Waits until every daemon is ready, which the console says, and until the API answers somebody who is not logged in, which it does
    /// with a refusal. Returns when it did, on `CLOCK_MONOTONIC`.
    ///
    /// After a reset, wait for [`READY_LINE`] behind it first: one from before would do here.
    ///
    /// # Errors
    /// With the end of the console when it does not.
    pub async fn answers(&self) -> Result<Duration> {
        // Not asked before: QEMU takes a connection that the BMC cannot take yet, and gets it through only seconds later if at all; and
        // a handshake that is given up half-way costs the BMC as much as one that is not.
        self.console()?.wait_for(READY_LINE, 0, BOOT_LIMIT).await?;
        let nobody = self.client(Credential::None)?;
        let asked = tokio::time::timeout(BOOT_LIMIT, async {
            loop {
                let asked = tokio::time::timeout(ASK_LIMIT, nobody.get("/api/v1alpha1/hosts")).await;
                if matches!(asked, Ok(Ok(reply)) if reply.status == 401) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            hal_sim::monotonic()
        })
        .await;
        match asked {
            Ok(at) => Ok(at),
            Err(_) => bail!("the API did not answer in {BOOT_LIMIT:?}:\n{}", self.console()?.tail()),
        }
    }

    /// Waits until the administrator's question is answered and every daemon is ready.
    ///
    /// # Errors
    /// With the end of the console when it does not.
    pub async fn ready(&self) -> Result<Client> {
        self.answers().await?;
        let admin = self.admin()?;
        self.ask_until(&admin, "/api/v1alpha1/hosts", |_| true).await?;
        Ok(admin)
    }

    /// Waits until the boot record says that this boot works, which the operator has it say some time after every daemon is ready: a
    /// power cut before costs the slot a try.
    ///
    /// # Errors
    /// With the end of the console when that does not come.
    pub async fn confirmed(&self) -> Result<()> {
        self.console()?.wait_for("slot marked good", 0, BOOT_LIMIT).await.map(|_| ())
    }

    /// Asks until `enough` is satisfied with the answer.
    ///
    /// # Errors
    /// With the last answer and the end of the console when it never is.
    pub async fn ask_until(
        &self,
        client: &Client,
        path: &str,
        mut enough: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let mut last = String::new();
        let asked = tokio::time::timeout(BOOT_LIMIT, async {
            loop {
                match tokio::time::timeout(ASK_LIMIT * 2, client.get(path)).await {
                    Ok(Ok(reply)) if reply.status == 200 => {
                        let value = reply.json()?;
                        if enough(&value) {
                            return anyhow::Ok(value);
                        }
                        last = reply.text();
                    }
                    Ok(Ok(reply)) => last = format!("{}: {}", reply.status, reply.text()),
                    Ok(Err(error)) => last = format!("{error:#}"),
                    Err(_) => "no answer".clone_into(&mut last),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        match asked {
            Ok(value) => value,
            Err(_) => bail!("{path}: not in {BOOT_LIMIT:?}; last: {last}\n{}", self.console()?.tail()),
        }
    }

    /// Asks until the answer is another one than "not now", which is what an emulated BMC on a busy machine may say at first.
    async fn settled(&self, client: &Client, path: &str) -> Result<Reply> {
        let asked = tokio::time::timeout(BOOT_LIMIT, async {
            loop {
                let reply = client.get(path).await?;
                if reply.status != 503 {
                    return anyhow::Ok(reply);
                }
            }
        });
        asked.await.with_context(|| format!("{path}: not now, for {BOOT_LIMIT:?}"))?
    }

    /// The first login as a person does it: the password that the console shows once, which is good for nothing but its own
    /// change, is changed. Returns the administrator.
    ///
    /// # Errors
    /// When the console shows no password, or a step is refused.
    pub async fn first_login(&self) -> Result<Client> {
        self.first_login_after(0).await
    }

    /// As [`Bmc::first_login`], with a password that is shown after line number `from` of the console.
    ///
    /// # Errors
    /// As [`Bmc::first_login`].
    pub async fn first_login_after(&self, from: usize) -> Result<Client> {
        // The line after it: a line is seen before it is whole.
        let console = self.console()?;
        console.wait_for("It replaces any shown before", from, BOOT_LIMIT).await?;
        let lines = console.lines(from);
        let banner = lines.iter().find(|line| line.text.contains("│   password"));
        let banner = banner.with_context(|| format!("no first password is shown:\n{}", console.tail()))?;
        let password = banner.text.split_whitespace().nth(2).unwrap_or_default().to_owned();
        self.answers().await?;
        let first = self.client(Credential::Basic("admin".into(), password.clone()))?;
        let refused = self.settled(&first, "/api/v1alpha1/hosts").await?;
        if refused.status != 403 || !refused.text().contains("PASSWORD_CHANGE_REQUIRED") {
            bail!("the first password must be changed first: {}: {}", refused.status, refused.text());
        }
        let user = first.get("/api/v1alpha1/users/admin").await?.json()?;
        let id = user.pointer("/user/id").and_then(Value::as_str).unwrap_or("admin").to_owned();
        let change = json!({ "currentPassword": password, "newPassword": ADMIN_PASSWORD });
        let path = format!("/api/v1alpha1/users/{id}/change-password");
        let changed = first.post(&path, &change).await?;
        if changed.status != 200 {
            bail!("the first password could not be changed: {}: {}", changed.status, changed.text());
        }
        self.ready().await
    }
}
