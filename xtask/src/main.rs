//! `cargo xtask`: one place for every task of the project. Each step that CI runs is one of these calls, so that
//! what runs on a developer's machine and what runs there cannot drift apart.

mod bench;
mod cpio;
mod daemon;
mod emulate;
mod guest;
mod image;
mod long;
mod need;
mod packages;
mod sh;
mod sim;
mod size;
mod suites;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the u-bmc workspace.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Build everything and run the whole suite on the simulated board; prints the URL and the first credentials.
    Sim(sim::Args),
    /// Make the tiny machine that is the host with `sim.host=qemu`.
    Guest,
    /// Build a board's firmware image.
    Image(image::Args),
    /// Run an image on the emulated board, with a server around it; the console is yours.
    Emulate(emulate::Args),
    /// Run every test, or one tier of them.
    Test(test::Args),
    /// Check layers, file headers, links, left-over work and unsafe code.
    Tidy,
    /// Format the sources.
    Fmt,
    /// Measure, side by side with a peer where one exists.
    Bench(bench::Args),
    /// Measure what we cost: size of the binary, memory of each daemon, time from exec to ready.
    Size(size::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Sim(args) => sim::run(&args),
        Task::Guest => guest::build(),
        Task::Image(args) => image::run(&args),
        Task::Emulate(args) => emulate::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::Fmt => sh::cargo(&["fmt", "--all"]),
        Task::Bench(args) => bench::run(&args),
        Task::Size(args) => size::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sh::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
