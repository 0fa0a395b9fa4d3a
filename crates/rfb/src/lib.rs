//! A screen seen from afar, without I/O: the Remote Framebuffer protocol 3.8 (RFC 6143, and the community's rfbproto for what came after it).
//!
//! ```text
//!  picture ──► Screen: pixels or one JPEG, tiles that know when they changed
//!                │
//!                ├──► Server, one for each viewer ──► bytes     which tiles it lacks, what it asked for, what is on its way
//!                │      └◄── bytes ──► Event ──► Inputs ──► host
//!                └──► png
//!  QEMU's VNC ──► Client ──► Screen
//! ```
//!
//! A [`Screen`] is there once, however many look: a [`Server`] keeps one bit for each tile and no pixel, so that a slow viewer costs nothing and gets what is
//! there when it asks, never what was. What it has not asked for, or not confirmed where it wants updates by themselves, is not made.
//!
//! Both ends are hostile: each message has a bound, and nothing here grows with what a peer sends.

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

mod bytes;
mod client;
mod encode;
mod format;
mod input;
mod message;
mod png;
mod room;
mod screen;
mod server;
mod violation;

pub use client::Client;
pub use encode::Deflater;
pub use format::{NATIVE, PixelFormat};
pub use input::{HELD_MAX, Input, Inputs, WAITING_MAX};
pub use message::{CUT_TEXT_MAX, ClientMessage, ENCODINGS_MAX, FENCE_MAX};
pub use png::{is_png, png};
pub use room::{OWN, Room};
pub use screen::{Cursor, Leds, PIXELS_MAX, Rect, SIDE_MAX, Screen, TILE, Unshown};
pub use server::{Event, Piece, Server, UPDATE_SOFT_MAX};
pub use violation::Violation;

/// Numbers of encodings and of what is told like one (RFC 6143, 7.7 and 7.8; rfbproto, "Encodings").
pub mod encoding {
    /// Pixels as they are.
    pub const RAW: i32 = 0;
    /// zlib, fill and JPEG.
    pub const TIGHT: i32 = 7;
    /// Tiles of one colour, of few colours or as they are, in one stream of zlib (RFC 6143, 7.7.6).
    pub const ZRLE: i32 = 16;
    /// The pointer's shape.
    pub const CURSOR: i32 = -239;
    /// The size changes.
    pub const DESKTOP_SIZE: i32 = -223;
    /// No rectangle follows, however many were announced (rfbproto, "LastRect Pseudo-encoding").
    pub const LAST_RECT: i32 = -224;
    /// The size changes, with screens and reasons.
    pub const EXTENDED_DESKTOP_SIZE: i32 = -308;
    /// The lamps of the keyboard.
    pub const LED_STATE: i32 = -261;
    /// Keys with the number of the key beside what is on it.
    pub const QEMU_EXTENDED_KEY: i32 = -258;
    /// Marks in the stream that come back.
    pub const FENCE: i32 = -312;
    /// Updates without being asked for each.
    pub const CONTINUOUS_UPDATES: i32 = -313;
    /// The lowest of ten qualities of JPEG: who names one takes JPEG.
    pub const JPEG_QUALITY_LOWEST: i32 = -32;
    /// The highest of them.
    pub const JPEG_QUALITY_HIGHEST: i32 = -23;
}
