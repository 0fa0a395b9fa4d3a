//! Serves the hosts' virtual media: discs at a server, in a browser, or in the store.
//!
//! ```text
//!  MediaService ──► media::Slot for each drive ──► hal::MediaDrive: the twin's, or a USB gadget's
//!                        │ Open, Attach, Close
//!                        ▼
//!  the host's side ──► <slot>.nbd ──► drive: media::Reader ──► HTTP ranges  (http)
//!                                        │                └──► a session    (session ◄── media.sock ◄── websrv ◄── browser, ubmcctl)
//!                                        └── a file of the store
//!  Get-, SetMediaSwitch ──► whether anything may be inserted; kept in `service.json`. Off, all drives are empty
//!         ◄── event.media.<slot>.change     who inserted and ejected what, what is not ready
//! ```
//!
//! Bytes of media go over Unix sockets and never over the bus. What is inserted is kept in `slots.json` before the host sees it, and offered again after a
//! restart.
//!
//! Never: lets a host wait for longer than a bound, whatever a server or a browser does; keeps more of a medium than its bound; reaches the controller's own
//! services; writes what was not asked to be writable; shows a password.
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
mod copies;
mod drive;
mod hand;
mod http;
mod keep;
mod origin;
mod pass;
mod ports;
mod session;
mod shell;
mod slots;
mod store;
mod upload;
mod wire;

pub use config::Config;
pub use service::StartError as Error;
pub use shell::run;

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "mediasrv";
/// The socket that sessions come by, in the daemon's folder of the run directory.
pub const SOCKET: &str = "media.sock";
