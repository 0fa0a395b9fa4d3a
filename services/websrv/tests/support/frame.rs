//! The five-byte prefix that gRPC, gRPC-Web and Connect streams put before a message: flags, then a big-endian length. As a client sees it, and on
//! its own: what websrv writes is not read with what wrote it.

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

/// One prefixed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub flags: u8,
    pub data: Bytes,
}

/// Takes the next envelope off the front of `buffer`; `None` while it is incomplete.
pub fn next(buffer: &mut BytesMut, limit: usize) -> Result<Option<Envelope>, String> {
    let Some(length) = buffer.get(1..PREFIX) else { return Ok(None) };
    let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
    if length > limit {
        return Err(format!("a message of {length} bytes"));
    }
    if buffer.len() - PREFIX < length {
        return Ok(None);
    }
    let flags = buffer[0];
    buffer.advance(PREFIX);
    Ok(Some(Envelope { flags, data: buffer.split_to(length).freeze() }))
}

/// Prefix and message in one piece.
pub fn encode(flags: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + message.len());
    out.put_u8(flags);
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.put_slice(message);
    out.freeze()
}

/// Decodes a gRPC-Web text body: padded pieces of base64, one after the other.
pub fn decode_text(body: &[u8]) -> Result<Bytes, base64::DecodeError> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'=').map_or(rest.len(), |at| (at / 4 + 1) * 4);
        let (piece, next) = rest.split_at(end);
        STANDARD.decode_vec(piece, &mut out)?;
        rest = next;
    }
    Ok(out.into())
}
