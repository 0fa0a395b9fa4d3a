//! Whether the medium is there: asked when a message does not read.

use std::io;
use std::path::Path;

use super::super::METAS;
use super::{PIECE, SegmentLog};

impl SegmentLog {
    /// Whether anything of the stream can be read from the medium now: its configuration, which lies there twice, or the begin of its oldest or
    /// newest segment. A page that does not read takes one of these at most; a medium that is away takes all.
    pub(super) fn medium_gives(&self) -> bool {
        let ends = [self.segments.front(), self.segments.back()];
        let segments = ends.into_iter().flatten().map(|segment| self.path(segment.id));
        let metas = METAS.iter().map(|meta| self.dir.join(meta));
        metas.chain(segments).any(|path| self.gives(&path).unwrap_or(false))
    }

    fn gives(&self, path: &Path) -> io::Result<bool> {
        let file = self.shared.disk.open(path, false)?;
        let size = usize::try_from(file.size()?).unwrap_or(PIECE).min(PIECE);
        let mut buffer = vec![0; size];
        file.read_fresh(&mut buffer, 0)?;
        // Of an empty file the medium gives nothing, whether it is there or not.
        Ok(size > 0)
    }
}
