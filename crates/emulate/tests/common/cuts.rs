//! Power cuts: what was acknowledged before one is there after it (I-4), and something boots.

use std::io::{Seek as _, SeekFrom, Write as _};

use anyhow::{Context as _, Result, ensure};
use emulate::Bmc;
use serde_json::json;
use testkit::Client;

use super::host;

/// What was sent and what was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: u64,
    pub(crate) acknowledged: u64,
    users: Vec<String>,
}

impl Ledger {
    /// Changes durable state until the power goes.
    pub(crate) async fn write(&mut self, admin: &Client, round: u32) -> Result<()> {
        loop {
            self.change(admin, round).await?;
        }
    }

    /// Changes durable state: a description that counts, and in each round an account.
    async fn change(&mut self, admin: &Client, round: u32) -> Result<()> {
        self.sent += 1;
        let body = json!({ "host": { "description": self.sent.to_string() }, "fieldMask": "description" });
        let headers = [("content-type", "application/json")];
        let path = "/api/v1alpha1/hosts/system";
        let reply = admin.send("PATCH".parse()?, path, &headers, body.to_string().into()).await?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        self.acknowledged = self.sent;
        let name = format!("round{round}");
        if !self.users.contains(&name) {
            let user = json!({ "username": name, "role": "ReadOnly", "enabled": true });
            let body = json!({ "user": user, "password": "a-Passphrase-0f-a-round" });
            let reply = admin.post("/api/v1alpha1/users", &body).await?;
            // A round may create what the cut of an earlier try of it left unacknowledged.
            ensure!([200, 409].contains(&reply.status), "{}: {}", reply.status, reply.text());
            self.users.push(name);
        }
        Ok(())
    }

    /// Holds what is there now to what was acknowledged.
    pub(crate) async fn check(&mut self, admin: &Client) -> Result<()> {
        let found = host(admin).await?["description"].as_str().unwrap_or("0").parse::<u64>()?;
        let range = self.acknowledged..=self.sent;
        ensure!(range.contains(&found), "I-4: found {found}, acknowledged and sent were {range:?}");
        self.acknowledged = found;
        let reply = admin.get("/api/v1alpha1/users").await?;
        ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        let users = reply.json()?;
        let users = users["users"].as_array().context("users")?;
        for name in &self.users {
            ensure!(users.iter().any(|user| user["username"] == name.as_str()), "I-4: {name} is gone");
        }
        // Accounts are few by design; old rounds make room.
        while self.users.len() > 8 {
            let name = self.users.remove(0);
            let gone =
                users.iter().find(|user| user["username"] == name.as_str()).and_then(|u| u["id"].as_str());
            let path = format!("/api/v1alpha1/users/{}", gone.context("an id")?);
            let reply = admin.send("DELETE".parse()?, &path, &[], bytes::Bytes::new()).await?;
            ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
        }
        Ok(())
    }
}

/// The data partition is never so broken that what was on it is given up.
pub(crate) fn nothing_is_made_anew(bmc: &Bmc) -> Result<()> {
    let lines = bmc.console()?.lines(0);
    let lost = ["data made anew", "data in memory"];
    let made_anew = lines.iter().find(|line| lost.iter().any(|text| line.text.contains(text)));
    ensure!(made_anew.is_none(), "the data partition was made anew: {made_anew:?}");
    Ok(())
}

/// The power goes, and the slot that ran rots; the other one must take over, say so, and have everything.
pub(crate) async fn rot(bmc: &mut Bmc, ledger: &mut Ledger) -> Result<()> {
    let slot = running_slot(bmc)?;
    bmc.cut().await?;
    // The superblock of its root file system, which starts at 1 KiB.
    let start: u64 = if slot == 'a' { 2 } else { 26 } * 1024 * 1024;
    let mut disk = std::fs::File::options().write(true).open(bmc.disks().join("emmc.img"))?;
    disk.seek(SeekFrom::Start(start + 1024))?;
    disk.write_all(&[0xa5; 4096])?;
    drop(disk);
    bmc.boot().await?;
    let admin = bmc.ready().await?;
    ensure!(running_slot(bmc)? != slot, "{}", console(bmc));
    ledger.check(&admin).await.context("after the fall-back")?;
    let info = admin.get("/api/v1alpha1/system/info").await?.text();
    ensure!(
        info.contains(&format!("\"boot.fell_back_from\":\"{slot}\"")),
        "the API does not tell it: {info}"
    );
    Ok(())
}

/// The slot as stage0 tells it on the console: `u-bmc stage0: 5.123 slot a (confirmed), version 0.1.0`.
fn running_slot(bmc: &Bmc) -> Result<char> {
    let lines = bmc.console()?.lines(0);
    let told = lines.iter().rev().filter(|line| line.text.contains("u-bmc stage0:"));
    let mut told = told.filter(|line| line.text.contains(", version "));
    let slot = told.find_map(|line| line.text.split(" slot ").nth(1)?.chars().next());
    slot.with_context(|| format!("no slot is told:\n{}", console(bmc)))
}

pub(crate) fn console(bmc: &Bmc) -> String {
    bmc.console().map(emulate::Console::tail).unwrap_or_default()
}
