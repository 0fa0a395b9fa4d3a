//! What ends a session.

/// What a peer did that ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It does not begin as RFB does.
    #[error("it does not speak RFB 3.3 to 3.8")]
    Version,
    /// It wants another kind of security than there is.
    #[error("it wants a kind of security that is not offered")]
    Security,
    /// No such message.
    #[error("a message of the unknown kind {0}")]
    Unknown(u8),
    /// A format of pixels that cannot be, or with a map of colours.
    #[error("a format of pixels that is not served")]
    Format,
    /// Longer than a bound.
    #[error("a message that is too long")]
    TooLong,
    /// An encoding that was not asked for.
    #[error("the encoding {0}, which was not asked for")]
    Encoding(i32),
    /// A screen that is larger than [`PIXELS_MAX`](crate::PIXELS_MAX), or a rectangle outside it.
    #[error("a size that cannot be")]
    Size,
    /// A screen whose [`Room`](crate::Room) has no memory for one of that size.
    #[error(
        "there is no memory for a screen of {0}x{1} pixels beside the others that are watched: end one of them"
    )]
    NoRoom(u16, u16),
    /// The picture comes as JPEG, which this viewer does not take.
    #[error("the picture is JPEG, and the viewer takes none (Tight with a quality)")]
    NeedsJpeg,
}
