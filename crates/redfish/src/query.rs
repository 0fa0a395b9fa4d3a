//! Query parameters (DSP0266 §7.3).

use percent_encoding::percent_decode_str;

use crate::filter::{Filter, FilterError};
use crate::message::{Message, base};
use crate::select::{Select, SelectError};

/// How deep `$expand` goes at most.
pub const LEVELS_MAX: u8 = 6;
/// The most members `$top` may ask for; more are not shown at once without it either.
pub(crate) const TOP_MAX: u64 = 1000;

/// Why a query is refused.
#[derive(Debug)]
pub enum QueryError {
    /// 400
    Bad(Message),
    /// 501: it may be a parameter, but none that is known here.
    Unsupported(Message),
}

/// Which links `$expand` follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// `.`: those that are not in `Links`.
    Subordinate,
    /// `~`: those in `Links`.
    Links,
    /// `*`: all.
    All,
}

/// `$expand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expand {
    /// Which links.
    pub follow: Follow,
    /// How deep, 1 to 6.
    pub levels: u8,
}

/// What a request wants of a resource besides all of it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// With what it links to in it.
    pub expand: Option<Expand>,
    /// Only these properties.
    pub select: Option<Select>,
    /// Only these members.
    pub filter: Option<Filter>,
    /// At most so many members.
    pub top: Option<u64>,
    /// Without the first so many members.
    pub skip: Option<u64>,
    /// The only member in place of the collection, if there is only one.
    pub only: bool,
    /// Only what a list of readings shows.
    pub excerpt: bool,
}

impl Query {
    /// Reads the query of a request. Parameters without `$` that nobody knows mean nothing.
    ///
    /// # Errors
    /// [`QueryError`]
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value)));
            let (Some(name), Some(value)) = (decode(name), decode(value.unwrap_or_default())) else {
                return Err(QueryError::Bad(base::QUERY_PARAMETER_VALUE_FORMAT_ERROR.with(&[pair, pair])));
            };
            query.set(&name, &value)?;
        }
        if query.only
            && (query.expand.is_some()
                || query.filter.is_some()
                || query.skip.is_some()
                || query.top.is_some())
        {
            return Err(QueryError::Bad(base::QUERY_COMBINATION_INVALID.plain()));
        }
        Ok(query)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        let format = || QueryError::Bad(base::QUERY_PARAMETER_VALUE_FORMAT_ERROR.with(&[value, name]));
        let range =
            |range: &str| QueryError::Bad(base::QUERY_PARAMETER_OUT_OF_RANGE.with(&[value, name, range]));
        let number = || -> Result<u64, QueryError> {
            // A sign is no error of the type: the number is out of range.
            let is_negative = value.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok());
            match value.parse() {
                _ if is_negative => Err(range("0 or more")),
                Ok(number) => Ok(number),
                Err(_) => Err(QueryError::Bad(base::QUERY_PARAMETER_VALUE_TYPE_ERROR.with(&[value, name]))),
            }
        };
        match name {
            "$expand" => {
                let (expand, is_in_range) = expand(value).ok_or_else(format)?;
                if !is_in_range {
                    return Err(range(&format!("1 to {LEVELS_MAX}")));
                }
                self.expand = Some(expand);
            }
            "$select" => {
                self.select = Some(Select::parse(value).map_err(|error| match error {
                    SelectError::Syntax => format(),
                    SelectError::TooLong => range("at most 64 properties"),
                })?);
            }
            "$filter" => {
                self.filter = Some(Filter::parse(value).map_err(|error| match error {
                    FilterError::Syntax => format(),
                    FilterError::TooLong => range("at most 256 words"),
                })?);
            }
            "$top" => self.top = Some(number()?),
            "$skip" => self.skip = Some(number()?),
            "only" | "excerpt" if !value.is_empty() => return Err(format()),
            "only" => self.only = true,
            "excerpt" => self.excerpt = true,
            _ if name.starts_with('$') => {
                return Err(QueryError::Unsupported(base::QUERY_PARAMETER_UNSUPPORTED.with(&[name])));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it has parameters that only a collection has a meaning for.
    pub(crate) fn is_for_collections(&self) -> bool {
        self.filter.is_some() || self.top.is_some() || self.skip.is_some() || self.only
    }

    /// Whether it asks for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.expand.is_none() && self.select.is_none() && !self.is_for_collections() && !self.excerpt
    }
}

/// `.`, `.($levels=2)`, and whether the levels are in range.
fn expand(text: &str) -> Option<(Expand, bool)> {
    let mut chars = text.chars();
    let follow = match chars.next()? {
        '.' => Follow::Subordinate,
        '~' => Follow::Links,
        '*' => Follow::All,
        _ => return None,
    };
    let rest = chars.as_str();
    if rest.is_empty() {
        return Some((Expand { follow, levels: 1 }, true));
    }
    let digits = rest.strip_prefix("($levels=")?.strip_suffix(')')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let levels = digits.parse::<u8>().unwrap_or(u8::MAX);
    Some((Expand { follow, levels }, (1..=LEVELS_MAX).contains(&levels)))
}

/// Undoes percent-encoding and `+`.
fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        match Query::parse(text) {
            Ok(_) => "taken".to_owned(),
            Err(QueryError::Bad(message)) => format!("400 {}", message.id()),
            Err(QueryError::Unsupported(message)) => format!("501 {}", message.id()),
        }
    }

    #[test]
    fn parameters_are_read_and_others_are_refused_or_ignored() {
        let query =
            Query::parse("$expand=*($levels=3)&$top=5&$skip=0&$select=Name&x=1&$filter=a+eq%201").unwrap();
        assert_eq!(query.expand, Some(Expand { follow: Follow::All, levels: 3 }));
        assert_eq!((query.top, query.skip), (Some(5), Some(0)));
        assert!(query.filter.is_some() && query.select.is_some());
        for (text, expected) in [
            ("only", "taken"),
            ("only=", "taken"),
            ("excerpt", "taken"),
            ("rpp=1", "taken"),
            ("only=1", "400 Base.1.22.QueryParameterValueFormatError"),
            ("$top=-1", "400 Base.1.22.QueryParameterOutOfRange"),
            ("$top=x", "400 Base.1.22.QueryParameterValueTypeError"),
            ("$top=1.5", "400 Base.1.22.QueryParameterValueTypeError"),
            ("$top", "400 Base.1.22.QueryParameterValueTypeError"),
            ("$expand=x", "400 Base.1.22.QueryParameterValueFormatError"),
            ("$expand=.($levels=0)", "400 Base.1.22.QueryParameterOutOfRange"),
            ("$expand=.($levels=7)", "400 Base.1.22.QueryParameterOutOfRange"),
            ("$expand=.($levels=9999)", "400 Base.1.22.QueryParameterOutOfRange"),
            ("$expand=.($levels=)", "400 Base.1.22.QueryParameterValueFormatError"),
            ("$filter=eq", "400 Base.1.22.QueryParameterValueFormatError"),
            ("$select=", "400 Base.1.22.QueryParameterValueFormatError"),
            ("$count=true", "501 Base.1.22.QueryParameterUnsupported"),
            ("only&$expand=.", "400 Base.1.22.QueryCombinationInvalid"),
            ("$top=%ff", "400 Base.1.22.QueryParameterValueFormatError"),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,80}") {
            let _ = Query::parse(&text);
        }
    }
}
