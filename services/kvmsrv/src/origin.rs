//! Where a screen's pictures come from.

use std::path::PathBuf;

/// A source of pictures.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A moving test picture.
    Synthetic,
    /// The VNC server of a QEMU guest, by its socket. It is there while the guest runs.
    Qemu(PathBuf),
}
