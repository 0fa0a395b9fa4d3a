//! Subjects: what is valid, and what matches what.
//!
//! A subject is tokens joined by `.`. In a filter `*` stands for one token and a last `>` for one or more.

/// Why a subject is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubjectError {
    /// No bytes at all.
    Empty,
    /// Two dots in a row, or one at the start or the end.
    EmptyToken,
    /// White space or a control byte.
    BadByte,
    /// `>` before the last token, or a wildcard where a literal subject is needed.
    Wildcard,
    /// More tokens or bytes than the server keeps, see [`MAX_TOKENS`].
    TooLong,
}

impl std::fmt::Display for SubjectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SubjectError::Empty => "the subject is empty",
            SubjectError::EmptyToken => "the subject has an empty token",
            SubjectError::BadByte => "the subject holds white space or a control byte",
            SubjectError::Wildcard => "the subject has a wildcard in the wrong place",
            SubjectError::TooLong => "the subject has too many tokens",
        })
    }
}

impl std::error::Error for SubjectError {}

/// The deepest filter the server accepts. Bounds the depth of the trie, which is walked by recursion.
pub const MAX_TOKENS: usize = 256;

/// Splits a subject in tokens.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|b| *b == b'.')
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

/// Checks a filter as `SUB` takes it: wildcards allowed where they may stand.
///
/// # Errors
/// What is wrong first.
pub fn check_filter(subject: &[u8]) -> Result<(), SubjectError> {
    if subject.is_empty() {
        return Err(SubjectError::Empty);
    }
    let mut full = false;
    for (n, token) in tokens(subject).enumerate() {
        if n >= MAX_TOKENS {
            return Err(SubjectError::TooLong);
        }
        if token.is_empty() {
            return Err(SubjectError::EmptyToken);
        }
        if full {
            return Err(SubjectError::Wildcard);
        }
        if token == b">" {
            full = true;
        }
        if token.iter().any(|b| is_space(*b)) {
            return Err(SubjectError::BadByte);
        }
    }
    Ok(())
}

/// Checks a subject as a message carries it: valid, and without wildcard tokens.
///
/// # Errors
/// What is wrong first.
pub fn check_literal(subject: &[u8]) -> Result<(), SubjectError> {
    check_filter(subject)?;
    if is_literal(subject) { Ok(()) } else { Err(SubjectError::Wildcard) }
}

/// Whether no token is a wildcard (`a*b` is an ordinary token).
#[must_use]
pub fn is_literal(subject: &[u8]) -> bool {
    !tokens(subject).any(|t| t == b"*" || t == b">")
}

/// Whether `filter` matches the literal `subject`.
#[must_use]
pub fn matches(filter: &[u8], subject: &[u8]) -> bool {
    let mut s = tokens(subject);
    for f in tokens(filter) {
        if f == b">" {
            return s.next().is_some();
        }
        match s.next() {
            Some(t) if f == b"*" || f == t => {}
            _ => return false,
        }
    }
    s.next().is_none()
}

/// Whether every subject `inner` matches is matched by `outer` too (both may hold wildcards).
#[must_use]
pub fn is_subset(inner: &[u8], outer: &[u8]) -> bool {
    let mut i = tokens(inner);
    for o in tokens(outer) {
        if o == b">" {
            return i.next().is_some();
        }
        match i.next() {
            None | Some(b">") => return false,
            Some(t) if o == b"*" || (t != b"*" && t == o) => {}
            Some(_) => return false,
        }
    }
    i.next().is_none()
}

/// Whether some subject is matched by both.
#[must_use]
pub fn overlaps(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (Some(b">"), Some(_)) | (Some(_), Some(b">")) => return true,
            (None, _) | (_, None) => return false,
            (Some(x), Some(y)) if x == b"*" || y == b"*" || x == y => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_wildcards_say() {
        for (filter, subject, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a.b", "a", false),
            ("a", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.*.c", "a.b.c", true),
            ("*", "a", true),
            ("*.*", "a", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a*", "ab", false),
            ("a*", "a*", true),
        ] {
            assert_eq!(matches(filter.as_bytes(), subject.as_bytes()), expected, "{filter} on {subject}");
        }
    }

    #[test]
    fn only_well_formed_filters_pass() {
        for (filter, expected) in [
            ("a", Ok(())),
            ("a.*.>", Ok(())),
            ("a>", Ok(())),
            ("", Err(SubjectError::Empty)),
            (".a", Err(SubjectError::EmptyToken)),
            ("a.", Err(SubjectError::EmptyToken)),
            ("a..b", Err(SubjectError::EmptyToken)),
            (">.a", Err(SubjectError::Wildcard)),
            ("a b", Err(SubjectError::BadByte)),
            ("a\tb", Err(SubjectError::BadByte)),
        ] {
            assert_eq!(check_filter(filter.as_bytes()), expected, "{filter}");
        }
        assert_eq!(check_literal(b"a.*"), Err(SubjectError::Wildcard));
        assert_eq!(check_literal(b"a.b"), Ok(()));
        assert_eq!(check_filter("x.".repeat(300).as_bytes()), Err(SubjectError::TooLong));
    }

    #[test]
    fn subset_and_overlap_know_wildcards() {
        for (inner, outer, subset, overlap) in [
            ("a.b", "a.*", true, true),
            ("a.*", "a.b", false, true),
            ("a.>", "a.*", false, true),
            ("a.*", "a.>", true, true),
            (">", ">", true, true),
            ("*", ">", true, true),
            (">", "*", false, true),
            ("a.*.c", "a.b.*", false, true),
            ("a", "b", false, false),
            ("a.b", "a", false, false),
            ("a", "a.>", false, false),
        ] {
            assert_eq!(is_subset(inner.as_bytes(), outer.as_bytes()), subset, "{inner} in {outer}");
            assert_eq!(overlaps(inner.as_bytes(), outer.as_bytes()), overlap, "{inner} and {outer}");
        }
    }
}
