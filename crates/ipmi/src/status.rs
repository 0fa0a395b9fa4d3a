//! Status codes of RMCP+ and RAKP (table 13-15).

pub(crate) const OK: u8 = 0x00;
pub(crate) const RESOURCES: u8 = 0x01;
pub(crate) const SESSION: u8 = 0x02;
pub(crate) const INACTIVE: u8 = 0x08;
pub(crate) const ROLE: u8 = 0x09;
pub(crate) const UNAUTHORIZED_ROLE: u8 = 0x0a;
pub(crate) const NAME_LENGTH: u8 = 0x0c;
pub(crate) const UNAUTHORIZED_NAME: u8 = 0x0d;
pub(crate) const INTEGRITY: u8 = 0x0f;
pub(crate) const NO_SUITE: u8 = 0x11;
pub(crate) const PARAMETER: u8 = 0x12;
