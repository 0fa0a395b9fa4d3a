//! What a client takes, by its `Accept` (RFC 9110 §12.5.1). It is read with goodwill: whoever may take what there is gets it.

/// What browsers name that show a page to a person.
const PAGES: [&str; 2] = ["text/html", "application/xhtml+xml"];

/// Whether a client takes this media type. Without the field, and where nothing in it can be read, it takes anything. Parameters but `q` do not count:
/// `application/json;odata.metadata=minimal` takes what is JSON. Of the ranges that fit the most precise one decides.
pub(crate) fn takes(accept: Option<&str>, media: &str) -> bool {
    let ranges: Vec<Range<'_>> = accept.unwrap_or_default().split(',').filter_map(Range::read).collect();
    let fitting = ranges.iter().filter_map(|range| Some((range.precision(media)?, range.is_taken)));
    ranges.is_empty() || fitting.max().is_some_and(|(_, is_taken)| is_taken)
}

/// Whether a person looks at what comes: with a browser, which shows whatever that is.
pub(crate) fn shows_pages(accept: Option<&str>) -> bool {
    let mut ranges = accept.unwrap_or_default().split(',').filter_map(Range::read);
    ranges.any(|range| range.is_taken && PAGES.iter().any(|page| range.precision(page) == Some(2)))
}

/// One media range of the list.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Its weight is not zero.
    is_taken: bool,
}

impl<'a> Range<'a> {
    /// Reads one; `None` for what is none. Java's `*` means `*/*`.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next()?;
        let (kind, subtype) = if name == "*" { ("*", "*") } else { name.split_once('/')? };
        let is_name = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+*".contains(&byte))
        };
        if !is_name(kind) || !is_name(subtype) || kind == "*" && subtype != "*" {
            return None;
        }
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
        });
        Some(Self { kind, subtype, is_taken: weight != Some(0.0) })
    }

    /// How precisely it names a media type: 2 the type, 1 all like it, 0 all there are; `None` where it does not fit.
    fn precision(&self, media: &str) -> Option<u8> {
        let (kind, subtype) = media.split_once('/')?;
        let fits = |own: &str, other: &str| own.eq_ignore_ascii_case(other);
        match (self.kind, self.subtype) {
            ("*", _) => Some(0),
            (own, "*") => fits(own, kind).then_some(1),
            (own, sub) => (fits(own, kind) && fits(sub, subtype)).then_some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_may_take_what_there_is_gets_it() {
        for accept in [
            None,
            Some(""),
            Some("*/*"),
            Some("*/*;q=0.1"),
            Some("application/*"),
            Some("Application/JSON"),
            Some("application/json;odata.metadata=minimal"),
            Some("application/json; charset=utf-8; q=0.5"),
            Some("application/xml, application/json;q=0.001"),
            // Java's, with a weight as it writes it.
            Some("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
            Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            // The most precise one decides.
            Some("*/*;q=0, application/json"),
            Some("application/*;q=0, application/json;q=1"),
            // Nothing in it can be read.
            Some("json"),
            Some("*/json"),
            Some(" , ;q=0"),
        ] {
            assert!(takes(accept, "application/json"), "{accept:?}");
        }
        for accept in [
            "application/xml",
            "text/plain",
            "text/html",
            "application/json;q=0",
            "application/json; Q = 0.000, */*",
            "application/*;q=0, */*",
            "*/*;q=0",
            "application/json-patch+json",
            "text/*",
        ] {
            assert!(!takes(Some(accept), "application/json"), "{accept}");
        }
        assert!(takes(Some("text/event-stream"), "text/event-stream"));
        assert!(!takes(Some("application/json"), "text/event-stream"));
    }

    #[test]
    fn who_asks_for_a_page_is_a_person() {
        assert!(
            shows_pages(Some("text/html")) && shows_pages(Some("text/plain, Application/XHTML+XML;q=0.9"))
        );
        for accept in [None, Some("*/*"), Some("text/*"), Some("application/json"), Some("text/html;q=0")] {
            assert!(!shows_pages(accept), "{accept:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~]{0,60}") {
            let _ = (takes(Some(&text), "application/json"), shows_pages(Some(&text)));
            let taken = format!("{text}, application/json");
            prop_assert!(takes(Some(&taken), "application/json") || text.to_ascii_lowercase().contains("json"), "{}", taken);
        }
    }
}
