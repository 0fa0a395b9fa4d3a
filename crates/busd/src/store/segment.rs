//! The bytes of a segment file.
//!
//! ```text
//!  segment := header record*
//!  header  := magic[8] id:u64 base:u64 reserved:u32 crc:u32                       (32 bytes)
//!  record  := crc:u32 length:u32 kind:u8 flags:u8 subject:u16 headers:u32 seq:u64 time:i64   (32 bytes)
//!             subject headers payload                                            (length - 24 bytes)
//! ```
//!
//! Numbers are little-endian. `length` counts what follows it. The checksum of a record covers everything after it and
//! starts from a value made of the segment's id, so that bytes of another file in a recycled block never pass. `base`
//! is the next sequence at the time the segment was begun.
//!
//! One bit that turned over is set right: the checksum says which it was, in the record or in the checksum itself.
//!
//! Flag 1 says that everything before the record was on the medium when the record was written. Of what comes behind the
//! last flagged record any part may be missing after power loss, so damage at the end of that part is a write that never was
//! acknowledged and is cut off. Damage elsewhere is decay of the medium or a gap in such a write, which cannot always be told apart:
//! what is sound behind it counts, because it may have been acknowledged.

use nats::js::store::{Ranges, Record, Step};

/// Bytes of a segment's header, and of a record without its subject, headers and payload.
pub(super) const HEADER: usize = 32;
/// The fixed part of a record that its length counts.
const COUNTED: usize = HEADER - 8;
const MAGIC: &[u8; 8] = b"UBMCSEG1";
/// The longest record: above any payload the broker lets in (8 MiB) with its headers.
const MAX_LENGTH: usize = 16 * 1024 * 1024;

const MESSAGE: u8 = 1;
const REMOVED: u8 = 2;
const FLOOR: u8 = 3;

/// A record in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it starts.
    pub offset: usize,
    /// How long it is.
    pub size: usize,
    /// Its message's sequence, when it is a message.
    pub message: Option<u64>,
    /// Everything before it was on the medium when it was written.
    pub settled: bool,
    /// One of its bits had turned over; what the visitor saw is the record as it was written.
    pub corrected: bool,
}

/// What [`scan`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The header's `base`; `None` when the header is damaged or cut short.
    pub base: Option<u64>,
    /// The sound records, in order.
    pub records: Vec<Found>,
    /// Stretches without a sound record: start and end.
    pub bad: Vec<(usize, usize)>,
}

impl Scan {
    /// Where a segment that was being written ends, if power loss tore it.
    #[must_use]
    pub fn torn_at(&self) -> Option<usize> {
        let end = self.records.last().map_or(HEADER, |r| r.offset + r.size);
        self.bad.last().map(|(start, _)| *start).filter(|start| *start >= end.max(HEADER))
    }

    /// Where the part begins that may never have been acknowledged, if the segment is the newest one.
    #[must_use]
    pub(super) fn unsettled_from(&self) -> usize {
        self.records.iter().rfind(|r| r.settled).map_or(HEADER, |r| r.offset)
    }
}

fn seed(id: u64) -> u32 {
    crc32fast::hash(&id.to_le_bytes())
}

fn checksum(id: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed(id));
    hasher.update(bytes);
    hasher.finalize()
}

/// A segment's header.
#[must_use]
pub(super) fn header(id: u64, base: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    let (head, crc) = bytes.split_at_mut(HEADER - 4);
    let fields = MAGIC.iter().copied().chain(id.to_le_bytes()).chain(base.to_le_bytes());
    for (byte, field) in head.iter_mut().zip(fields) {
        *byte = field;
    }
    crc.copy_from_slice(&crc32fast::hash(head).to_le_bytes());
    bytes
}

/// The `base` in the header at the start of `bytes`, if it is sound and of segment `id`.
#[must_use]
pub(super) fn base(id: u64, bytes: &[u8]) -> Option<u64> {
    parse_header(bytes, id)
}

fn parse_header(bytes: &[u8], id: u64) -> Option<u64> {
    let head = bytes.get(..HEADER - 4)?;
    let crc = u32_at(bytes, HEADER - 4)?;
    let sound = crc == crc32fast::hash(head) && head.starts_with(MAGIC) && u64_at(bytes, 8)? == id;
    if sound { u64_at(bytes, 16) } else { None }
}

/// Appends a record to `out`; `None` when it is too large to be one. `settled`: see the module.
pub(super) fn encode(id: u64, step: Step<'_>, settled: bool, out: &mut Vec<u8>) -> Option<usize> {
    let empty = Record { seq: 0, time: 0, subject: "", headers: &[], payload: &[] };
    let (kind, record) = match step {
        Step::Message(record) => (MESSAGE, record),
        Step::Removed(ranges) => (REMOVED, Record { payload: ranges.bytes(), ..empty }),
        Step::Floor { next } => (FLOOR, Record { seq: next, ..empty }),
        // Said by segment headers, not by records.
        Step::Next { .. } => return None,
    };
    let length = COUNTED + record.subject.len() + record.headers.len() + record.payload.len();
    if length > MAX_LENGTH {
        return None;
    }
    let subject = u16::try_from(record.subject.len()).ok()?;
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    out.extend_from_slice(&[kind, u8::from(settled)]);
    out.extend_from_slice(&subject.to_le_bytes());
    out.extend_from_slice(&u32::try_from(record.headers.len()).ok()?.to_le_bytes());
    out.extend_from_slice(&record.seq.to_le_bytes());
    out.extend_from_slice(&record.time.to_le_bytes());
    out.extend_from_slice(record.subject.as_bytes());
    out.extend_from_slice(record.headers);
    out.extend_from_slice(record.payload);
    let crc = checksum(id, out.get(start + 4..)?);
    out.get_mut(start..start + 4)?.copy_from_slice(&crc.to_le_bytes());
    Some(out.len() - start)
}

/// Whether a record can hold this.
#[must_use]
pub(super) fn fits(step: &Step<'_>) -> bool {
    match step {
        Step::Message(record) => {
            size_of(record) <= MAX_LENGTH && record.subject.len() <= usize::from(u16::MAX)
        }
        Step::Removed(ranges) => ranges.bytes().len() <= MAX_LENGTH - HEADER,
        _ => true,
    }
}

/// How many bytes a message takes in a segment.
#[must_use]
pub(super) fn size_of(record: &Record<'_>) -> usize {
    HEADER + record.subject.len() + record.headers.len() + record.payload.len()
}

/// The same record with the checksum of another segment, for moving it there.
pub(super) fn reseal(id: u64, record: &mut [u8]) {
    if let Some((crc, rest)) = record.split_first_chunk_mut::<4>() {
        *crc = checksum(id, rest).to_le_bytes();
    }
}

/// Reads the record at the start of `bytes` and says how long it is and whether it is flagged; `None` when there is no
/// sound one.
#[must_use]
pub(super) fn decode(id: u64, bytes: &[u8]) -> Option<(Step<'_>, usize, bool)> {
    let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
    if !(COUNTED..=MAX_LENGTH).contains(&length) {
        return None;
    }
    let covered = bytes.get(4..8 + length)?;
    let (kind, flags) = (*covered.get(4)?, *covered.get(5)?);
    let subject_len = usize::from(u16::from_le_bytes(*covered.get(6..8)?.first_chunk()?));
    let headers_len = usize::try_from(u32_at(covered, 8)?).ok()?;
    let variable = length - COUNTED;
    if flags > 1 || subject_len.checked_add(headers_len)? > variable {
        return None;
    }
    // Cheap checks first: the search for a sound record behind damage tries every offset.
    if !(kind == MESSAGE || kind == REMOVED && variable.is_multiple_of(16) || kind == FLOOR && variable == 0)
    {
        return None;
    }
    if u32_at(bytes, 0)? != checksum(id, covered) {
        return None;
    }
    let (seq, time) = (u64_at(covered, 12)?, u64_at(covered, 20)?);
    let (subject, rest) = covered.get(28..)?.split_at_checked(subject_len)?;
    let (headers, payload) = rest.split_at_checked(headers_len)?;
    let step = match kind {
        MESSAGE => {
            let subject = core::str::from_utf8(subject).ok()?;
            Step::Message(Record { seq, time: time.cast_signed(), subject, headers, payload })
        }
        REMOVED => Step::Removed(Ranges::new(payload)?),
        _ => Step::Floor { next: seq },
    };
    Some((step, 8 + length, flags == 1))
}

/// The longest record of which a turned bit is looked for, and how often in one segment: bounds the work on hostile bytes. Up to 91,607 bits
/// any two code words of this checksum differ in four bits at least (Koopman, "32-Bit Cyclic Redundancy Codes for Internet
/// Applications", 2002): two turned bits never look like one. In longer records they may, so those are not corrected.
const CORRECTABLE: usize = 91_607 / 8 - 4;
const CORRECTIONS: usize = 16;

/// What a byte that enters the checksum's register does to it (CRC-32, reflected).
#[expect(clippy::indexing_slicing, reason = "run by the compiler: what is out of bounds does not compile")]
const STEP: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut register = byte;
        let mut bit = 0;
        while bit < 8 {
            register = if register & 1 == 1 { (register >> 1) ^ 0xEDB8_8320 } else { register >> 1 };
            bit += 1;
        }
        table[byte as usize] = register;
        byte += 1;
    }
    table
};

fn step(register: u32) -> u32 {
    let index = usize::from(register.to_le_bytes()[0]);
    (register >> 8) ^ STEP.get(index).copied().unwrap_or(0)
}

/// Which bit of `length` bytes, turned over, changes the checksum by `difference`: its byte, and its bit therein.
fn turned(difference: u32, length: usize) -> Option<(usize, u8)> {
    // By bit, what it does to the checksum when its byte is followed by 0, 1, 2 … others.
    let mut effects: [u32; 8] = core::array::from_fn(|bit| step(1 << bit));
    for byte in (0..length).rev() {
        if let Some(bit) = effects.iter().position(|effect| *effect == difference) {
            return Some((byte, 1 << bit));
        }
        effects = effects.map(step);
    }
    None
}

/// The record at the start of `bytes` as it was written, if one of its bits has turned over since.
#[must_use]
pub(super) fn correct(id: u64, bytes: &[u8]) -> Option<Vec<u8>> {
    let length = u32_at(bytes, 4)?;
    for candidate in core::iter::once(length).chain((0..32).map(|bit| length ^ (1 << bit))) {
        let counted = usize::try_from(candidate).ok()?;
        if !(COUNTED..=CORRECTABLE).contains(&counted) {
            continue;
        }
        let Some(mut record) = bytes.get(..8 + counted).map(<[u8]>::to_vec) else { continue };
        record.get_mut(4..8)?.copy_from_slice(&candidate.to_le_bytes());
        if candidate == length {
            let (stored, computed) = (u32_at(&record, 0)?, checksum(id, record.get(4..)?));
            let difference = stored ^ computed;
            if difference.is_power_of_two() {
                record.get_mut(..4)?.copy_from_slice(&computed.to_le_bytes());
            } else if let Some((byte, bit)) = turned(difference, counted + 4) {
                *record.get_mut(4 + byte)? ^= bit;
            }
        }
        if decode(id, &record).is_some_and(|(_, size, _)| size == record.len()) {
            return Some(record);
        }
    }
    None
}

/// What a damaged record at the start of `bytes` says it is: its length, sequence, time and subject. Any of it may be wrong.
#[must_use]
pub(super) fn claim(bytes: &[u8]) -> Option<(usize, u64, i64, &str)> {
    let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let covered = bytes.get(4..8 + length)?;
    let subject = usize::from(u16::from_le_bytes(*covered.get(6..8)?.first_chunk()?));
    if !(COUNTED..=MAX_LENGTH).contains(&length) || *covered.get(4)? != MESSAGE {
        return None;
    }
    let (seq, time) = (u64_at(covered, 12)?, u64_at(covered, 20)?);
    let subject = core::str::from_utf8(covered.get(28..28 + subject)?).ok()?;
    Some((8 + length, seq, time.cast_signed(), subject))
}

/// Walks a segment's bytes, stepping over what is damaged.
pub fn scan(id: u64, bytes: &[u8], visit: &mut dyn FnMut(Step<'_>, Found)) -> Scan {
    let mut scan = Scan { base: parse_header(bytes, id), ..Scan::default() };
    let mut at = HEADER.min(bytes.len());
    if scan.base.is_none() {
        scan.bad.push((0, at));
    }
    let mut bad_from = None;
    let mut corrections = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let mut sound = decode(id, rest);
        let mut mended = None;
        if sound.is_none() && bad_from.is_none() && corrections < CORRECTIONS {
            corrections += 1;
            mended = correct(id, rest);
            sound = mended.as_deref().and_then(|record| decode(id, record));
        }
        let Some((step, size, settled)) = sound else {
            bad_from.get_or_insert(at);
            at += 1;
            continue;
        };
        if let Some(start) = bad_from.take() {
            scan.bad.push((start, at));
        }
        let message = match &step {
            Step::Message(record) => Some(record.seq),
            _ => None,
        };
        let found = Found { offset: at, size, message, settled, corrected: mended.is_some() };
        visit(step, found);
        scan.records.push(found);
        at += size;
    }
    if let Some(start) = bad_from {
        scan.bad.push((start, bytes.len()));
    }
    scan
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..at + 4)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..at + 8)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(seq: u64, payload: &[u8]) -> Record<'_> {
        Record { seq, time: -5, subject: "a.b", headers: b"NATS/1.0\r\n\r\n", payload }
    }

    fn segment(id: u64, count: u64) -> Vec<u8> {
        let mut bytes = header(id, 1).to_vec();
        for seq in 1..=count {
            encode(id, Step::Message(message(seq, &[7; 40])), true, &mut bytes).unwrap();
        }
        bytes
    }

    fn sequences(id: u64, bytes: &[u8]) -> Vec<u64> {
        scan(id, bytes, &mut |_, _| {}).records.iter().filter_map(|r| r.message).collect()
    }

    #[test]
    fn records_read_back_as_written() {
        let mut bytes = header(9, 77).to_vec();
        encode(9, Step::Message(message(77, b"x")), true, &mut bytes).unwrap();
        let ranges = Ranges::encode(&[(3, 3), (5, u64::MAX)]);
        encode(9, Step::Removed(Ranges::new(&ranges).unwrap()), true, &mut bytes).unwrap();
        encode(9, Step::Floor { next: 5 }, false, &mut bytes).unwrap();
        let mut seen = Vec::new();
        let found = scan(9, &bytes, &mut |step, _| {
            seen.push(match step {
                Step::Removed(ranges) => format!("{:?}", ranges.iter().collect::<Vec<_>>()),
                other => format!("{other:?}"),
            });
        });
        assert_eq!(found.base, Some(77));
        assert_eq!(found.bad, []);
        assert!(seen[0].contains("seq: 77, time: -5, subject: \"a.b\""), "{}", seen[0]);
        assert_eq!(seen[1], format!("[(3, 3), (5, {})]", u64::MAX));
        assert_eq!(seen[2], "Floor { next: 5 }");
    }

    #[test]
    fn two_turned_bits_are_never_taken_for_one() {
        for size in [100, 11_000, 40_000, 65_000] {
            let mut bytes = header(3, 1).to_vec();
            encode(3, Step::Message(message(1, &vec![9; size])), true, &mut bytes).unwrap();
            let record = &bytes[HEADER..];
            for n in 0..400_usize {
                let mut damaged = record.to_vec();
                let (one, two) = ((n * 7919) % (record.len() - 40), (n * 104_729 + 13) % (record.len() - 40));
                damaged[40 + one] ^= 1 << (n % 8);
                damaged[40 + two] ^= 1 << ((n / 8 + 1) % 8);
                if damaged != record && one != two {
                    assert_eq!(correct(3, &damaged), None, "{size} {n}");
                }
            }
        }
    }

    #[test]
    fn records_of_another_segment_do_not_pass() {
        assert!(sequences(2, &segment(1, 3)).is_empty());
        let mut moved = segment(1, 1).split_off(HEADER);
        reseal(2, &mut moved);
        assert!(decode(2, &moved).is_some());
    }

    #[test]
    fn a_turned_bit_is_set_right_and_a_turned_byte_costs_its_record_and_no_other() {
        let whole = segment(1, 5);
        let size = (whole.len() - HEADER) / 5;
        let read = |bytes: &[u8]| {
            let mut seen = Vec::new();
            let scan = scan(1, bytes, &mut |step, _| seen.push(format!("{step:?}")));
            (seen, scan)
        };
        let (written, _) = read(&whole);
        for bit in HEADER * 8..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (seen, found) = read(&bytes);
            assert_eq!((&seen, found.bad.len()), (&written, 0), "bit {bit}");
            assert_eq!(found.records.iter().filter(|r| r.corrected).count(), 1, "bit {bit}");
        }
        for byte in HEADER..whole.len() {
            let mut bytes = whole.clone();
            bytes[byte] ^= 0x7e;
            let hit = ((byte - HEADER) / size) as u64 + 1;
            let expected: Vec<u64> = (1..=5).filter(|seq| *seq != hit).collect();
            assert_eq!(sequences(1, &bytes), expected, "byte {byte}");
        }
    }

    #[test]
    fn a_damaged_record_still_says_what_it_was() {
        let mut bytes = segment(1, 1).split_off(HEADER);
        let at = bytes.len() - 9;
        bytes[at] ^= 0x7e;
        assert_eq!(decode(1, &bytes).map(|found| found.1), None);
        assert_eq!(claim(&bytes), Some((bytes.len(), 1, -5, "a.b")));
        assert_eq!(claim(&[0; 100]), None);
    }

    #[test]
    fn a_damaged_header_costs_no_record() {
        let mut bytes = segment(1, 3);
        bytes[9] ^= 1;
        assert_eq!(sequences(1, &bytes), [1, 2, 3]);
    }

    #[test]
    fn a_cut_keeps_every_record_before_it() {
        let whole = segment(1, 4);
        let size = (whole.len() - HEADER) / 4;
        for len in 0..whole.len() {
            let scan = scan(1, &whole[..len], &mut |_, _| {});
            let complete = len.saturating_sub(HEADER) / size;
            assert_eq!(scan.records.len(), complete);
            if len >= HEADER && !(len - HEADER).is_multiple_of(size) {
                assert_eq!(scan.torn_at(), Some(HEADER + complete * size));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        /// Whatever the bytes, the walk ends, stays inside and accounts for every byte.
        #[test]
        fn any_bytes_can_be_scanned(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..400) {
            let whole = segment(1, 3);
            bytes.extend_from_slice(&whole[cut.min(whole.len())..]);
            let scan = scan(1, &bytes, &mut |_, _| {});
            let good: usize = scan.records.iter().map(|r| r.size).sum();
            let bad: usize = scan.bad.iter().map(|(start, end)| end - start).sum();
            let header = if scan.base.is_some() { HEADER } else { 0 };
            prop_assert_eq!(good + bad + header, bytes.len());
        }
    }
}
