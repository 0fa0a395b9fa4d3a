//! Tells the binary which commit it is built from, unless it is told by `UBMC_COMMIT`: an image's programs are given an empty one.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=UBMC_COMMIT");
    let commit = std::env::var("UBMC_COMMIT").ok().or_else(|| {
        if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
            println!("cargo:rerun-if-changed={head}");
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    });
    println!("cargo:rustc-env=UBMC_COMMIT={}", commit.unwrap_or_default());
    for (name, variable) in [("TARGET", "UBMC_TARGET"), ("PROFILE", "UBMC_PROFILE")] {
        println!("cargo:rustc-env={variable}={}", std::env::var(name).unwrap_or_default());
    }
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
