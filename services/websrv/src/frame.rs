//! The five-byte prefix that gRPC, gRPC-Web and Connect streams put before a message: flags, then a big-endian length.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Message is compressed.
pub const FLAG_COMPRESSED: u8 = 0b1;
/// Connect: this is the end-of-stream message.
pub const FLAG_END_STREAM: u8 = 0b10;
/// gRPC-Web: these are the trailers.
pub const FLAG_TRAILERS: u8 = 0b1000_0000;

const PREFIX: usize = 5;

/// Bytes that are no sequence of prefixed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body ended inside a message.
    #[error("the body ends inside a message")]
    Truncated,
    /// A message announces more than the limit.
    #[error("a message of {announced} bytes is over the limit of {limit}")]
    TooLarge {
        /// What its prefix says.
        announced: usize,
        /// What is taken.
        limit: usize,
    },
    /// Not base64 (gRPC-Web text).
    #[error("the body is not base64")]
    Base64,
    /// A method that takes one message got another number.
    #[error("the method takes exactly one message, the request has {0}")]
    Count(usize),
}

/// One prefixed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Flags.
    pub flags: u8,
    /// The message, not copied from what was read.
    pub data: Bytes,
}

/// Takes the next envelope off the front of `buffer`; `None` while it is incomplete.
///
/// # Errors
/// [`FrameError::TooLarge`], from the prefix alone: nothing is allocated for the announced length.
pub fn next(buffer: &mut BytesMut, limit: usize) -> Result<Option<Envelope>, FrameError> {
    let Some((&flags, rest)) = buffer.split_first() else { return Ok(None) };
    let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
    let announced = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(FrameError::TooLarge { announced, limit });
    }
    if buffer.len() - PREFIX < announced {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    Ok(Some(Envelope { flags, data: buffer.split_to(announced).freeze() }))
}

/// The one message of a unary or server-streaming request.
///
/// # Errors
/// [`FrameError`]
pub fn single(mut body: Bytes, limit: usize) -> Result<Envelope, FrameError> {
    let (Some(&flags), Some(length)) = (body.first(), body.get(1..PREFIX).and_then(<[u8]>::first_chunk::<4>))
    else {
        return Err(if body.is_empty() { FrameError::Count(0) } else { FrameError::Truncated });
    };
    let announced = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(FrameError::TooLarge { announced, limit });
    }
    body.advance(PREFIX);
    match body.len().cmp(&announced) {
        std::cmp::Ordering::Less => Err(FrameError::Truncated),
        std::cmp::Ordering::Equal => Ok(Envelope { flags, data: body }),
        std::cmp::Ordering::Greater => Err(FrameError::Count(2)),
    }
}

/// The prefix of a message. One that does not fit 32 bits cannot come from the bus, whose limit is far below.
#[must_use]
pub fn prefix(flags: u8, length: usize) -> [u8; PREFIX] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [flags, a, b, c, d]
}

/// Prefix and message in one piece.
#[must_use]
pub fn encode(flags: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    out.put_slice(&prefix(flags, message.len()));
    out.put_slice(message);
    out.freeze()
}

/// Decodes a gRPC-Web text body: base64, possibly several padded pieces one after the other.
///
/// # Errors
/// [`FrameError::Base64`]
pub fn decode_text(body: &[u8]) -> Result<Bytes, FrameError> {
    let mut out = Vec::with_capacity(body.len() / 4 * 3);
    let mut rest = body;
    while !rest.is_empty() {
        // A piece ends with its padding, or with the body.
        let end = rest.iter().position(|b| *b == b'=').map_or(rest.len(), |at| (at / 4 + 1) * 4);
        let (piece, next) = rest.split_at_checked(end).ok_or(FrameError::Base64)?;
        STANDARD.decode_vec(piece, &mut out).map_err(|_| FrameError::Base64)?;
        rest = next;
    }
    Ok(out.into())
}

/// Encodes a gRPC-Web text frame as a piece of its own.
#[must_use]
pub fn encode_text(frame: &[u8]) -> Bytes {
    Bytes::from(STANDARD.encode(frame))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
        let error = FrameError::TooLarge { announced: 0xffff_ffff, limit: 10 };
        assert_eq!(single(Bytes::from_static(&[0, 255, 255, 255, 255]), 10), Err(error));
        assert_eq!(next(&mut BytesMut::from(&[0, 255, 255, 255, 255][..]), 10), Err(error));
    }

    #[test]
    fn exactly_one_message_is_one_message() {
        let one = encode(0, b"abc");
        assert_eq!(single(one.clone(), 10).unwrap().data, "abc");
        assert_eq!(single(Bytes::new(), 10), Err(FrameError::Count(0)));
        assert_eq!(single(one.slice(..7), 10), Err(FrameError::Truncated));
        assert_eq!(single(one.slice(..3), 10), Err(FrameError::Truncated));
        let two = [one.clone(), one].concat();
        assert_eq!(single(two.into(), 10), Err(FrameError::Count(2)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn frames_cut_anywhere_come_out_whole(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            cut in 1usize..9,
        ) {
            let wire: Vec<u8> = messages.iter().flat_map(|m| encode(0, m).to_vec()).collect();
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some(envelope) = next(&mut buffer, 64).unwrap() {
                    got.push(envelope.data.to_vec());
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = single(Bytes::from(bytes.clone()), 64);
            let _ = decode_text(&bytes);
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = next(&mut buffer, 64) {}
        }

        #[test]
        fn text_pieces_join(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5)) {
            let text: Vec<u8> = pieces.iter().flat_map(|p| encode_text(p).to_vec()).collect();
            prop_assert_eq!(decode_text(&text).unwrap(), pieces.concat());
        }
    }
}
