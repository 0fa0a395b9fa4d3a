//! Frames on the sockets: one JSON value a line, bounded.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// The longest frame. A trace reply of 256 entries is about half of it.
pub const FRAME_MAX: usize = 64 * 1024;

/// Reads the next frame, or `None` at a clean end. `partial` holds what came of a frame so far, so that the future may
/// be dropped and made again without losing bytes.
pub async fn read_frame<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    partial: &mut Vec<u8>,
) -> io::Result<Option<T>> {
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            return if partial.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        if partial.len() + part.len() > FRAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
        }
        partial.extend_from_slice(part);
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            let frame = serde_json::from_slice(partial);
            partial.clear();
            return frame.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
}

/// Writes one frame in one write.
pub async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(frame)?;
    bytes.push(b'\n');
    to.write_all(&bytes).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FromTwin;

    #[tokio::test]
    async fn frames_come_out_whole_however_they_were_cut() {
        let text = b"{\"hello\":{\"version\":1}}\n{\"hello\":{\"version\":2}}\n";
        for cut in 1..text.len() {
            let (mut near, far) = tokio::io::duplex(text.len());
            let mut far = tokio::io::BufReader::with_capacity(cut, far);
            near.write_all(text).await.unwrap();
            drop(near);
            let mut partial = Vec::new();
            for version in 1..=2 {
                let frame: FromTwin = read_frame(&mut far, &mut partial).await.unwrap().unwrap();
                assert_eq!(frame, FromTwin::Hello { version });
            }
            assert!(read_frame::<FromTwin>(&mut far, &mut partial).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_not_json_or_cut_off_is_an_error() {
        let long = vec![b'x'; FRAME_MAX + 1];
        for bad in [long.as_slice(), b"{\"hello\":\n", b"\xff\n", b"{\"hello\":{\"version\":1}}"] {
            let mut partial = Vec::new();
            let mut from = tokio::io::BufReader::new(bad);
            assert!(read_frame::<FromTwin>(&mut from, &mut partial).await.is_err());
            assert!(partial.len() <= FRAME_MAX);
        }
    }
}
