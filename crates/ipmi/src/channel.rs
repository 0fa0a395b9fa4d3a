//! The channel of the network, and what strangers learn of it (§6.3, §22.13).

use crate::completion::Completion;

/// The channel of the network.
pub const CHANNEL: u8 = 1;
/// In a request: the channel it comes by.
const THIS_CHANNEL: u8 = 0x0e;

/// Whether a request calls the channel it came by, as its number or as "this one" (§6.3).
///
/// # Errors
/// [`Completion::INVALID_FIELD`] for another.
pub fn is_this_channel(channel: u8) -> Result<(), Completion> {
    match channel & 0xf {
        CHANNEL | THIS_CHANNEL => Ok(()),
        _ => Err(Completion::INVALID_FIELD),
    }
}

/// §22.13: no sessions of IPMI 1.5; names are wanted, and a key of the controller is none.
pub(crate) fn auth_capabilities(data: &[u8]) -> Result<Vec<u8>, Completion> {
    let &[channel, level] = data else { return Err(Completion::LENGTH) };
    is_this_channel(channel)?;
    if !(1..=4).contains(&(level & 0xf)) {
        return Err(Completion::INVALID_FIELD);
    }
    let extended = channel & 0x80;
    Ok(vec![CHANNEL, extended, 0x04, if extended == 0 { 0 } else { 0x02 }, 0, 0, 0, 0])
}
