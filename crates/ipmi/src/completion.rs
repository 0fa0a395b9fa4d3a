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
    /// There is such a command, but not of this logical unit.
    pub const INVALID_UNIT: Self = Self(0xc2);
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

/// What a request is answered with: how it ended, and the data behind that, which some codes beside [`Completion::OK`] have as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub code: Completion,
    /// The data, without the group's byte.
    pub data: Vec<u8>,
}

impl Reply {
    /// As it is sent: the code, the group's byte, the data.
    #[must_use]
    pub fn bytes(self, prefix: Option<u8>) -> Vec<u8> {
        let mut out = vec![self.code.0];
        out.extend(prefix);
        out.extend(self.data);
        out
    }
}

impl From<Result<Vec<u8>, Completion>> for Reply {
    fn from(answer: Result<Vec<u8>, Completion>) -> Self {
        match answer {
            Ok(data) => Self { code: Completion::OK, data },
            Err(code) => Self { code, data: Vec::new() },
        }
    }
}
