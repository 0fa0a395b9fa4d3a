//! Shows the hosts' screens, and takes what is typed and pointed there.
//!
//! ```text
//!  QEMU's VNC ◄──► source ──► Desk: rfb::Screen, serial::Sessions, rfb::Inputs
//!  test picture ──► (one)       ▲  │
//!  /dev/video*  ──► (a thread)   │  └──► keys ──► /dev/hidg*: keyboard and pointer at the host's USB
//!  websrv ──► kvm.sock ──► session, one for each: rfb::Server ──► frames (serial::frame)
//!  websrv ──► KvmService: ViewScreen and OpenKvm give the ticket of a session
//!         ◄── event.kvm.<host>.session   who came, went, typed first, took over
//!  event.host.> ──► kept: what it showed before it went off ──► event.kvm.<host>.kept
//! ```
//!
//! Pictures never go over the bus, but for one that is asked for. Who may look and who may type is decided where all requests are, by the privileges of the two
//! methods; the ticket they give is what the socket asks for.
//!
//! Never: captures for nobody, unless it is set to keep what hosts showed last; lets one viewer hold up another or the capture; gives keyboard and mouse to two; leaves a key down of somebody who is gone; grows
//! with what a host shows or a viewer sends.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod config;
mod desk;
mod kept;
mod keys;
mod origin;
mod picture;
mod session;
mod shared;
mod shell;
mod source;
mod text;
mod video;

pub use config::Config;
pub use service::StartError as Error;
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "kvmsrv";
/// The socket that sessions come by, in the daemon's folder of the run directory.
pub const SOCKET: &str = "kvm.sock";
