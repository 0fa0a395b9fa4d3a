//! Completion codes (table 5-2).

/// How a command ended, other than well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Completion(pub u8);

impl Completion {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// Of some commands: a parameter that is not supported.
    pub const PARAMETER_NOT_SUPPORTED: Self = Self(0x80);
    /// Busy.
    pub const BUSY: Self = Self(0xc0);
    /// There is no such command here.
    pub const INVALID_COMMAND: Self = Self(0xc1);
    /// The reservation was cancelled, or never was.
    pub const RESERVATION: Self = Self(0xc5);
    /// The request is shorter or longer than the command's.
    pub const LENGTH: Self = Self(0xc7);
    /// A parameter is out of its range.
    pub const RANGE: Self = Self(0xc9);
    /// The sensor, record or data is not there.
    pub const NOT_PRESENT: Self = Self(0xcb);
    /// A field of the request holds what it may not.
    pub const INVALID_FIELD: Self = Self(0xcc);
    /// No answer in time.
    pub const TIMEOUT: Self = Self(0xc3);
    /// The session's privilege does not suffice.
    pub const PRIVILEGE: Self = Self(0xd4);
    /// Not in this state.
    pub const STATE: Self = Self(0xd5);
    /// Whatever else.
    pub const UNSPECIFIED: Self = Self(0xff);
}
