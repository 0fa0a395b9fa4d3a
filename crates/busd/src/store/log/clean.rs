//! Housekeeping: what is dead goes, what lives is written anew. What the medium does not give any more is given up here, once its
//! room is wanted.

use std::io;

use nats::js::store::{LOST_KEY, Record, Step, StoreError, StoreReport};

use super::super::lost::{claimed, keys_of, tells_loss};
use super::super::segment::{self, HEADER};
use super::super::{MAX_SEGMENT, segment_file};
use super::{Block, Entry, Raw, Segment, SegmentLog, io_error};

impl SegmentLog {
    /// Puts the segments aside that cannot be read at all, so that the row can be cleaned. That their messages are lost lasts from here on.
    /// `false`: not now.
    pub(super) fn give_up_unread(&mut self) -> Result<bool, StoreError> {
        if !self.keep_told()? {
            return Ok(false);
        }
        while let Some(id) = self.unread.last().copied() {
            let name = format!("{}-{}", self.stream, segment_file(id));
            let path = self.path(id);
            let aside = self.shared.move_aside(&name, &path)?;
            self.names_dirty = true;
            self.unread.pop();
            let why = format!("segment {id:08x} cannot be read, and its room is needed: it is given up");
            self.shared.found(&self.stream, why, Some(&aside));
        }
        Ok(true)
    }

    /// Puts on the medium what a bucket was told of lost values for this start only. It keeps its number: the segment that number falls into
    /// is written anew with it. `false`: not now.
    fn keep_told(&mut self) -> Result<bool, StoreError> {
        let told = self.markers.iter().filter(|(_, (_, subject))| tells_loss(subject));
        let told: Vec<u64> = told.map(|(seq, _)| *seq).collect();
        for seq in told {
            if self.segments.is_empty() {
                return Ok(false);
            }
            // Where nothing that can be read comes before it, it goes to the front of what follows.
            let front = self.segment_of(seq).is_none();
            let at = self.segment_of(seq).unwrap_or(0);
            if at + 1 == self.segments.len() {
                let newest = self.segments.back().map(|s| (s.id, s.size));
                let cutting = self.cut.pending || !self.cut.begun.is_empty();
                if cutting || newest != Some((self.mark.id, self.mark.size)) {
                    return Ok(false);
                }
                // Only what is closed is written anew.
                self.begin()?;
                self.sync()?;
                self.set_mark();
                self.mark_flushed();
            }
            if self.insert_marker(at, seq)? {
                continue;
            }
            self.mark_begun();
            if self.unmarked_of(at, at) == 0 || !self.merge(at, at)? {
                return Ok(false);
            }
            // What is written anew has no holes; a marker before its first number was not put into it.
            if front && !self.insert_marker(at, seq)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a closed segment anew with the marker `seq` in its place and all else as it is: what was removed after a segment that
    /// may come back stays known. `false`: the medium does not give all of it, or it would be too long.
    fn insert_marker(&mut self, at: usize, seq: u64) -> Result<bool, StoreError> {
        let Some(segment) = self.segments.get(at) else { return Ok(false) };
        let (id, base, size) = (segment.id, segment.base, segment.size);
        let raw = self.read_segment(id).map_err(|e| io_error("read", &self.path(id), &e))?;
        let Some((time, subject)) = self.markers.get(&seq) else { return Ok(true) };
        let record = Record { seq, time: *time, subject, headers: &[], payload: &[] };
        let mut marker = Vec::new();
        let more = segment::encode(id, Step::Message(record), true, &mut marker);
        let narrow = |n: u64| u32::try_from(n).ok();
        let first = base.min(seq);
        let (Some(more), Some(number)) = (more.and_then(|n| u32::try_from(n).ok()), narrow(seq - first))
        else {
            return Ok(false);
        };
        let Some(shift) = narrow(base - first) else { return Ok(false) };
        let last = segment.entries.last().map_or(0, |e| e.seq);
        if last.checked_add(shift).is_none() {
            return Ok(false);
        }
        let place = if shift > 0 { 0 } else { segment.entries.partition_point(|e| e.seq < number) };
        let offset = segment.entries.get(place).map_or(size, |e| u64::from(e.offset));
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut bytes = raw.bytes;
        let fits = bytes.len() as u64 == size && size + u64::from(more) <= MAX_SEGMENT;
        let Some(offset) = narrow(offset).filter(|_| fits && !raw.holes && start <= bytes.len()) else {
            return Ok(false);
        };
        bytes.splice(start..start, marker);
        if shift > 0
            && let Some(head) = bytes.get_mut(..HEADER)
        {
            head.copy_from_slice(&segment::header(id, first));
        }
        self.shared.replace_unsynced(Some(&self.stream), &self.dir, &segment_file(id), &bytes)?;
        self.names_dirty = true;
        self.shared.used(u64::from(more));
        self.block = Block::default();
        if let Some(segment) = self.segments.get_mut(at) {
            segment.base = first;
            segment.entries.iter_mut().for_each(|e| e.seq = e.seq.saturating_add(shift));
            segment.entries.iter_mut().skip(place).for_each(|e| e.offset = e.offset.saturating_add(more));
            segment.entries.insert(place, Entry { seq: number, offset, size: more, live: true });
            segment.size += u64::from(more);
            segment.live += 1;
            segment.live_bytes += u64::from(more);
            segment.file = None;
        }
        self.markers.remove(&seq);
        self.sync()?;
        Ok(true)
    }

    /// The bytes of a segment that is cleaned; of one that gives nothing any more, zeros where its room is needed.
    fn read_to_clean(&self, id: u64, size: u64) -> Result<Raw, StoreError> {
        match self.read_segment(id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || !self.shared.pressed() => {
                Err(io_error("read", &self.path(id), &error))
            }
            Err(_) => {
                let bytes = vec![0; usize::try_from(size.min(MAX_SEGMENT)).unwrap_or(0)];
                Ok(Raw { id, bytes, holes: true })
            }
            Ok(raw) => Ok(raw),
        }
    }

    /// Rewrites the segments `first..=last` as one that holds only what lives. `false`: they do not fit into one.
    pub(super) fn merge(&mut self, first: usize, last: usize) -> Result<bool, StoreError> {
        let Some((id, base)) = self.segments.get(first).map(|s| (s.id, s.base)) else { return Ok(false) };
        let mut merged = Segment::new(id, base);
        let mut bytes = segment::header(id, base).to_vec();
        let end = self.segments.get(last + 1).map_or(u64::MAX, |s| s.base);
        let markers: Vec<(u64, (i64, String))> =
            self.markers.range(base..end.max(base)).map(|(seq, marker)| (*seq, marker.clone())).collect();
        let mut waiting = markers.iter().peekable();
        let mut mark = |merged: &mut Segment, bytes: &mut Vec<u8>, before: u64| {
            let mut pushed = true;
            while let Some((seq, (time, subject))) = waiting.next_if(|(seq, _)| *seq < before) {
                let record = Record { seq: *seq, time: *time, subject, headers: &[], payload: &[] };
                let start = bytes.len() as u64;
                pushed &= segment::encode(id, Step::Message(record), true, bytes)
                    .is_some_and(|size| merged.push(*seq, start, size));
            }
            pushed
        };
        let keys = keys_of(&self.stream, !self.expendable);
        for segment in self.segments.range(first..=last) {
            let raw = self.read_to_clean(segment.id, segment.size)?;
            let old = &raw.bytes;
            let mut keep_copy = raw.holes;
            for entry in segment.entries.iter().filter(|e| e.live) {
                let (offset, size) = (entry.offset as usize, entry.size as usize);
                let record = old.get(offset..offset + size).unwrap_or_default();
                let seq = segment.base + u64::from(entry.seq);
                let mended = match segment::decode(segment.id, record) {
                    Some(_) => None,
                    None => segment::correct(segment.id, record),
                };
                let record = mended.as_deref().unwrap_or(record);
                if !mark(&mut merged, &mut bytes, seq) {
                    return Ok(false);
                }
                if segment::decode(segment.id, record).is_none() {
                    keep_copy = true;
                    let stream = self.stream.clone();
                    let why = format!("message {seq} does not read any more and was dropped");
                    self.shared.report(StoreReport::Failed { stream, why });
                    // In a bucket the value before it must not show as the key's.
                    if let Some(keys) = &keys {
                        let claim = claimed(record, keys);
                        let (time, subject) =
                            claim.map_or((0, None), |(_, _, time, s)| (time, Some(s.to_owned())));
                        let subject = subject.unwrap_or_else(|| format!("{keys}{LOST_KEY}"));
                        let start = bytes.len() as u64;
                        let marker = Record { seq, time, subject: &subject, headers: &[], payload: &[] };
                        let pushed = segment::encode(id, Step::Message(marker), true, &mut bytes)
                            .is_some_and(|size| merged.push(seq, start, size));
                        if !pushed {
                            return Ok(false);
                        }
                    }
                    continue;
                }
                let start = bytes.len();
                if !merged.push(seq, start as u64, size) {
                    return Ok(false);
                }
                bytes.extend_from_slice(record);
                segment::reseal(id, bytes.get_mut(start..).unwrap_or_default());
            }
            if keep_copy {
                // Its room is wanted even where there is none for a copy.
                let _ = self.shared.set_aside(&format!("{}-{}", self.stream, segment_file(segment.id)), old);
            }
        }
        if !mark(&mut merged, &mut bytes, u64::MAX) {
            return Ok(false);
        }
        merged.size = bytes.len() as u64;
        self.shared.replace_unsynced(Some(&self.stream), &self.dir, &segment_file(id), &bytes)?;
        self.names_dirty = true;
        self.shared.used(merged.size);
        self.block = Block::default();
        if let Some(place) = self.segments.get_mut(first) {
            self.shared.freed(place.size);
            *place = merged;
        }
        markers.iter().for_each(|(seq, _)| drop(self.markers.remove(seq)));
        for _ in first..last {
            if let Some(segment) = self.segments.remove(first + 1) {
                self.shared.freed(segment.size);
                self.merged.push_back(segment.id);
            }
        }
        self.unlink_merged()?;
        Ok(true)
    }

    /// Unlinks the files whose messages are in another one now, once that one is sure to be there: the oldest first, and each before the
    /// next. One that a loss of power brings back holds messages that later ones took the place of, and they must be there too.
    pub(super) fn unlink_merged(&mut self) -> Result<(), StoreError> {
        while let Some(id) = self.merged.front() {
            let path = self.path(*id);
            self.sync()?;
            match self.shared.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &path, &error));
                }
                _ => self.merged.pop_front(),
            };
            self.names_dirty = true;
        }
        Ok(())
    }
}
