//! `cargo xtask`: one place for every task of the project. Each step that CI runs is one of these calls, so that
//! what runs on a developer's machine and what runs there cannot drift apart.

mod ahead;
mod bench;
mod cache;
mod count;
mod cpio;
mod crates;
mod daemon;
mod disc;
mod drivers;
mod elf;
mod emulate;
mod guest;
mod image;
mod installer;
mod licences;
mod long;
mod modules;
mod need;
mod package;
mod packages;
mod sh;
mod sim;
mod size;
mod suites;
mod test;
mod tidy;
mod web;
mod workspace;

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
    /// Build the Web UI; or check it, or serve it with hot reload.
    Web(web::Args),
    /// Make the tiny machine that is the host with `sim.host=qemu`.
    Guest,
    /// Build a board's firmware image.
    Image(image::Args),
    /// Run an image on the emulated board, with a server around it; the console is yours.
    Emulate(emulate::Args),
    /// Compile the programs of images and nothing else.
    #[command(hide = true)]
    Programs,
    /// Run every test, or one tier of them.
    Test(test::Args),
    /// Check layers, file headers, links, left-over work and unsafe code.
    Tidy,
    /// Format the sources.
    Fmt,
    /// Measure, side by side with a peer where one exists.
    Bench(bench::Args),
    /// Pack the simulator for who tests clients: a Debian package and an OCI image.
    Package(package::Args),
    /// Measure what we cost: size of the binary, memory of each daemon, time from exec to ready.
    Size(size::Args),
}

impl Task {
    /// What is about to happen and how long that takes, for who waits.
    fn about(&self) -> &'static str {
        match self {
            Self::Sim(_) => {
                "sim: builds u-bmc and ubmcctl (minutes the first time, seconds after that), then runs them on the simulated board; Ctrl-C ends it"
            }
            Self::Web(_) => {
                "web: installs node and packages (a minute the first time), then builds the pages"
            }
            Self::Guest => "guest: makes the virtual machine that stands for the host",
            Self::Image(_) => {
                "image: compiles the suite for the board (ten minutes the first time) and packs its firmware"
            }
            Self::Emulate(_) => {
                "emulate: builds the board's image (ten minutes the first time) and boots it in QEMU"
            }
            Self::Programs => "programs: compiles what images are made of",
            Self::Test(args) => args.about(),
            Self::Tidy => "tidy: checks layers, file headers, links and left-over work",
            Self::Fmt => "fmt: formats the sources",
            Self::Bench(_) => {
                "bench: builds with optimisation (some ten minutes the first time), then measures"
            }
            Self::Package(_) => {
                "package: builds with optimisation (some ten minutes the first time), then packs the simulator"
            }
            Self::Size(_) => {
                "size: builds with optimisation (some ten minutes the first time), then measures"
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "standard output may be read by a program")]
fn main() -> ExitCode {
    let task = Cli::parse().task;
    eprintln!("xtask {}", task.about());
    let result = match task {
        Task::Sim(args) => sim::run(&args),
        Task::Web(args) => web::run(&args),
        Task::Guest => guest::build().and_then(|()| guest::build_ipmi()),
        Task::Image(args) => image::run(&args),
        Task::Emulate(args) => emulate::run(&args),
        Task::Programs => image::programs(),
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::Fmt => sh::cargo(&["fmt", "--all"]),
        Task::Bench(args) => bench::run(&args),
        Task::Package(args) => package::run(&args),
        Task::Size(args) => match &args.board {
            Some(board) => emulate::size(board, args.json),
            None => size::run(&args),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sh::say(&format!("xtask: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
