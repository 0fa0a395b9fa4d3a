//! What an image is built from: the commit, and the time that stands for "now" in everything that wants one.

use anyhow::{Context as _, Result};

use crate::sh;

/// The sources.
#[derive(Debug)]
pub(crate) struct Source {
    /// The commit, `-dirty` behind it when files differ from it.
    pub(crate) commit: String,
    /// Seconds since 1970: the commit's time.
    pub(crate) epoch: u64,
}

impl Source {
    /// Asks the environment, then git: a copy of the sources without its repository is told both.
    pub(crate) fn find() -> Result<Self> {
        let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => git(&["log", "-1", "--format=%ct"]).context("SOURCE_DATE_EPOCH is not set")?,
        };
        let epoch = epoch.trim().parse().context("SOURCE_DATE_EPOCH is not a number")?;
        let commit = match std::env::var("UBMC_COMMIT") {
            Ok(commit) => commit,
            Err(_) => git(&["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"])
                .context("UBMC_COMMIT is not set")?,
        };
        Ok(Self { commit: commit.trim().to_owned(), epoch })
    }
}

fn git(args: &[&str]) -> Result<String> {
    sh::output(sh::command("git").args(args))
}
