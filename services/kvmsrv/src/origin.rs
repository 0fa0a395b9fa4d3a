//! Where a screen's pictures come from, and where what is typed goes.

use std::path::PathBuf;

/// A source of pictures.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A moving test picture.
    Synthetic,
    /// The VNC server of a QEMU guest, by its socket. It is there while the guest runs.
    Qemu(PathBuf),
    /// JPEGs of a program in place of a simulated host's video engine, by its socket.
    Frames(PathBuf),
    /// A device that captures the host's video.
    Video(PathBuf),
}

impl Source {
    /// Whether it takes what is typed as well: else a keyboard at the host's USB does, whether there is a picture or not.
    pub(crate) const fn takes_input(&self) -> bool {
        matches!(self, Self::Synthetic | Self::Qemu(_))
    }
}
