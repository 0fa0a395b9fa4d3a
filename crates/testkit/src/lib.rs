//! Runs the whole suite as a user would: the `u-bmc` binary as a process on the simulated board, an HTTPS client,
//! and the controls of the twin. Tests and benchmarks read like prose with it:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let suite = testkit::Suite::builder("target/debug/u-bmc").start().await?;
//! let admin = suite.admin();
//! let reply = admin.get("/api/v1alpha1/hosts").await?;
//! assert_eq!(reply.status, 200);
//! suite.stop().await?;
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod bootable;
mod client;
mod console;
mod given;
mod images;
mod kvm;
mod medium;
mod python;
mod suite;

pub use client::{Client, Credential, Reply, connect_from, tls_config, tls_from};
pub use console::Console;
pub use given::given;
pub use images::{FileSession, ImageServer};
pub use kvm::{Kvm, kvm_stream};
pub use medium::{Medium, Trouble, open_to_all, run};
pub use python::python;
pub use suite::{
    ADMIN_PASSWORD, Builder, Machine, Ready, Reaper, Suite, children, eventually, free_port, root, signal,
};
