//! `$filter`: of a collection only some members (DSP0266 §7.3.4), the part of OData's language (ABNF of OData 4.01, §5.1.1.1) that Redfish takes.
//!
//! ```text
//!  or   = and *( "or" and )        term = property | literal
//!  and  = not *( "and" not )       property = name *( "/" name )
//!  not  = "not" not | "(" or ")" | term [ ("eq"|"ne"|"gt"|"ge"|"lt"|"le") term ]
//! ```

use std::cmp::Ordering;

use serde_json::Value;

/// The longest filter, bytes; the most tokens in one; how deep it may be nested.
const BYTES_MAX: usize = 2048;
const TOKENS_MAX: usize = 256;
const DEPTH_MAX: usize = 16;

/// Why a filter is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// It is not one.
    Syntax,
    /// Longer than 2,048 bytes, more than 256 words, or nested deeper than 16.
    TooLong,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Text(String),
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Term {
    Property(Vec<String>),
    Literal(Value),
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Not(Box<Expression>),
    Holds(Term),
    Compare(Term, Comparison, Term),
}

/// A condition on members.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expression);

/// One side of a comparison, which is of a property.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Side<'f> {
    /// A text, a number, true, false or null.
    Literal(&'f Value),
    /// The value of a property, by its path.
    Property(&'f [String]),
}

/// A property that a condition compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Compared<'f> {
    /// Its path.
    pub property: &'f [String],
    /// What it is compared with.
    pub with: Side<'f>,
    /// Whether both have to be the same, or must not be.
    pub is_equality: bool,
}

impl Filter {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`FilterError`]
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: tokens.into_iter().peekable() };
        let whole = parser.any(0)?;
        match parser.tokens.next() {
            None => Ok(Self(whole)),
            Some(_) => Err(FilterError::Syntax),
        }
    }

    /// The paths of the properties it looks at.
    #[must_use]
    pub fn properties(&self) -> Vec<&[String]> {
        let mut out = Vec::new();
        properties(&self.0, &mut out);
        out
    }

    /// What it compares properties with; a comparison of two properties is one of each.
    pub(crate) fn comparisons(&self) -> Vec<Compared<'_>> {
        let mut out = Vec::new();
        comparisons(&self.0, &mut out);
        out
    }

    /// Whether it is true of a member. A property that is not there is null, which is equal only to null, and neither more nor less than anything.
    #[must_use]
    pub fn holds(&self, member: &Value) -> bool {
        holds(&self.0, member)
    }

    /// Whether it may be true of a member whose properties of the names in `open` are not known; each comparison with one of those may come out either
    /// way.
    #[must_use]
    pub fn may_hold(&self, member: &Value, open: &[&str]) -> bool {
        outcome(&self.0, member, open) != Some(false)
    }
}

/// What an expression comes to; `None`: that depends on what is not known.
fn outcome(expression: &Expression, member: &Value, open: &[&str]) -> Option<bool> {
    let is_open = |term: &Term| match term {
        Term::Property(path) => path.first().is_some_and(|name| open.contains(&name.as_str())),
        Term::Literal(_) => false,
    };
    let all = |all: &[Expression]| -> Vec<_> { all.iter().map(|one| outcome(one, member, open)).collect() };
    match expression {
        Expression::Any(parts) => match all(parts) {
            parts if parts.contains(&Some(true)) => Some(true),
            parts if parts.contains(&None) => None,
            _ => Some(false),
        },
        Expression::All(parts) => match all(parts) {
            parts if parts.contains(&Some(false)) => Some(false),
            parts if parts.contains(&None) => None,
            _ => Some(true),
        },
        Expression::Not(part) => outcome(part, member, open).map(|holds| !holds),
        Expression::Holds(term) if is_open(term) => None,
        Expression::Compare(left, _, right) if is_open(left) || is_open(right) => None,
        Expression::Holds(_) | Expression::Compare(..) => Some(holds(expression, member)),
    }
}

fn comparisons<'f>(expression: &'f Expression, out: &mut Vec<Compared<'f>>) {
    let side = |term: &'f Term| match term {
        Term::Property(path) => Side::Property(path),
        Term::Literal(value) => Side::Literal(value),
    };
    match expression {
        Expression::Holds(_) => {}
        Expression::Compare(left, comparison, right) => {
            let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
            for (one, other) in [(left, right), (right, left)] {
                if let Term::Property(property) = one {
                    out.push(Compared { property, with: side(other), is_equality });
                }
            }
        }
        Expression::Not(inner) => comparisons(inner, out),
        Expression::Any(all) | Expression::All(all) => {
            for one in all {
                comparisons(one, out);
            }
        }
    }
}

fn properties<'f>(expression: &'f Expression, out: &mut Vec<&'f [String]>) {
    let mut term = |term: &'f Term| {
        if let Term::Property(path) = term {
            out.push(path);
        }
    };
    match expression {
        Expression::Holds(one) => term(one),
        Expression::Compare(left, _, right) => {
            term(left);
            term(right);
        }
        Expression::Not(inner) => properties(inner, out),
        Expression::Any(all) | Expression::All(all) => {
            for one in all {
                properties(one, out);
            }
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    if text.len() > BYTES_MAX {
        return Err(FilterError::TooLong);
    }
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if out.len() >= TOKENS_MAX {
            return Err(FilterError::TooLong);
        }
        out.push(match char {
            ' ' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '\'' => {
                let mut string = String::new();
                loop {
                    match chars.next() {
                        // Two are one.
                        Some('\'') if chars.peek() == Some(&'\'') => {
                            chars.next();
                            string.push('\'');
                        }
                        Some('\'') => break,
                        Some(other) => string.push(other),
                        None => return Err(FilterError::Syntax),
                    }
                }
                Token::Text(string)
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = chars.next_if(|c| !matches!(c, ' ' | '(' | ')' | '\'')) {
                    word.push(next);
                }
                Token::Word(word)
            }
        });
    }
    Ok(out)
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn word(&mut self, wanted: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if word == wanted)).is_some()
    }

    fn any(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let first = self.all(depth)?;
        let mut rest = vec![first];
        while self.word("or") {
            rest.push(self.all(depth)?);
        }
        Ok(if rest.len() == 1 { rest.pop().ok_or(FilterError::Syntax)? } else { Expression::Any(rest) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, FilterError> {
        let first = self.not(depth)?;
        let mut rest = vec![first];
        while self.word("and") {
            rest.push(self.not(depth)?);
        }
        Ok(if rest.len() == 1 { rest.pop().ok_or(FilterError::Syntax)? } else { Expression::All(rest) })
    }

    fn not(&mut self, depth: usize) -> Result<Expression, FilterError> {
        if depth >= DEPTH_MAX {
            return Err(FilterError::TooLong);
        }
        if self.word("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.tokens.next_if_eq(&Token::Open).is_some() {
            let inside = self.any(depth + 1)?;
            return match self.tokens.next() {
                Some(Token::Close) => Ok(inside),
                _ => Err(FilterError::Syntax),
            };
        }
        let left = self.term()?;
        let comparison = match self.tokens.peek() {
            Some(Token::Word(word)) => Comparison::named(word),
            _ => None,
        };
        match comparison {
            None => Ok(Expression::Holds(left)),
            Some(comparison) => {
                self.tokens.next();
                Ok(Expression::Compare(left, comparison, self.term()?))
            }
        }
    }

    fn term(&mut self) -> Result<Term, FilterError> {
        let word = match self.tokens.next() {
            Some(Token::Text(text)) => return Ok(Term::Literal(Value::String(text))),
            Some(Token::Word(word)) => word,
            _ => return Err(FilterError::Syntax),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '_');
        match word.as_str() {
            "true" => Ok(Term::Literal(Value::Bool(true))),
            "false" => Ok(Term::Literal(Value::Bool(false))),
            "null" => Ok(Term::Literal(Value::Null)),
            "and" | "or" | "not" => Err(FilterError::Syntax),
            name if Comparison::named(name).is_some() => Err(FilterError::Syntax),
            number if number.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                serde_json::from_str(number).map(Term::Literal).map_err(|_| FilterError::Syntax)
            }
            path if path.split('/').all(|name| !name.is_empty() && name.chars().all(plain)) => {
                Ok(Term::Property(path.split('/').map(str::to_owned).collect()))
            }
            _ => Err(FilterError::Syntax),
        }
    }
}

fn holds(expression: &Expression, member: &Value) -> bool {
    match expression {
        Expression::Any(all) => all.iter().any(|one| holds(one, member)),
        Expression::All(all) => all.iter().all(|one| holds(one, member)),
        Expression::Not(one) => !holds(one, member),
        Expression::Holds(term) => values(term, member).iter().any(|value| **value == Value::Bool(true)),
        // Of a list it is enough that one fits.
        Expression::Compare(left, comparison, right) => {
            let right = values(right, member);
            values(left, member)
                .iter()
                .any(|left| right.iter().any(|right| compare(left, *comparison, right)))
        }
    }
}

/// What a term stands for: null when it is not there, several when there is a list on the way.
fn values<'v>(term: &'v Term, member: &'v Value) -> Vec<&'v Value> {
    let path = match term {
        Term::Literal(value) => return vec![value],
        Term::Property(path) => path,
    };
    let mut here = vec![member];
    for name in path {
        here = here
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(list) => list.iter().collect(),
                other => vec![other],
            })
            .filter_map(|value| value.get(name))
            .collect();
    }
    let flat: Vec<&Value> = here
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(list) => list.iter().collect(),
            other => vec![other],
        })
        .collect();
    if flat.is_empty() { vec![&Value::Null] } else { flat }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b))
        }
        // Times of RFC 3339 in UTC are in order as texts.
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    };
    let plain =
        !matches!((left, right), (Value::Null | Value::Bool(_), _) | (_, Value::Null | Value::Bool(_)));
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Greater => plain && order == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => plain && order.is_some_and(Ordering::is_ge),
        Comparison::Less => plain && order == Some(Ordering::Less),
        Comparison::LessOrEqual => plain && order.is_some_and(Ordering::is_le),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn member() -> Value {
        json!({"Reading": 41.5, "Name": "it's", "Status": {"Health": "OK", "State": null}, "On": true,
            "Created": "2026-01-02T03:04:05Z", "Links": [{"Id": "a"}, {"Id": "b"}]})
    }

    #[test]
    fn conditions_are_as_odata_says() {
        for (text, expected) in [
            ("Reading gt 41", true),
            ("Reading le 41.5", true),
            ("Reading lt 41.5", false),
            ("Name eq 'it''s'", true),
            ("Status/Health eq 'OK' and Reading lt 100", true),
            ("Status/Health ne 'OK' or On", true),
            ("not (Status/Health eq 'OK')", false),
            ("not On or On eq false", false),
            ("Status/State eq null", true),
            ("Nope eq null", true),
            ("Nope gt 1", false),
            ("Nope ne 1", true),
            ("Created ge '2026-01-01T00:00:00Z'", true),
            ("Links/Id eq 'b'", true),
            ("'OK' eq Status/Health", true),
            ("Reading gt -1e3", true),
            // `and` binds closer.
            ("On or Reading eq 1 and Reading eq 2", true),
            ("(On or Reading eq 1) and Reading eq 2", false),
            ("On gt false", false),
        ] {
            assert_eq!(Filter::parse(text).map(|filter| filter.holds(&member())), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_may_be_so_and_may_not() {
        for (text, expected) in [
            ("Kind eq 'a'", true),
            ("Kind eq 'b'", false),
            ("Kind eq 'a' and Id eq 7", true),
            ("Kind eq 'b' and Id eq 7", false),
            ("Kind eq 'b' or Id eq 7", true),
            ("Kind eq 'b' or not (Id eq 7)", true),
            ("not (Kind eq 'a' or Id eq 7)", false),
            ("Id", true),
            ("7 eq Id/Inner", true),
            ("Other eq null", true),
            ("Other eq 1", false),
        ] {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.may_hold(&json!({"Kind": "a"}), &["Id"]), expected, "{text}");
        }
    }

    #[test]
    fn comparisons_are_named_whatever_they_stand_in_and_on_either_side() {
        let filter = Filter::parse("not (A eq 'x' or 1 lt B/C) and D ne E and On").unwrap();
        let all = filter.comparisons().into_iter().map(|one| {
            let with = match one.with {
                Side::Literal(value) => value.to_string(),
                Side::Property(path) => path.join("/"),
            };
            format!("{} {with} {}", one.property.join("/"), one.is_equality)
        });
        assert_eq!(all.collect::<Vec<_>>(), ["A \"x\" true", "B/C 1 false", "D E true", "E D true"]);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in [
            "",
            "eq",
            "a eq",
            "a eq 'b",
            "(a eq 1",
            "a eq 1)",
            "a eq 1 b",
            "not",
            "and",
            "a and",
            "a/ eq 1",
            "a eq 1x",
            "a eq eq",
            "contains(a,'b')",
            "a eq 0x1",
        ] {
            assert_eq!(Filter::parse(text), Err(FilterError::Syntax), "{text:?}");
        }
        assert_eq!(Filter::parse(&"(".repeat(17)), Err(FilterError::TooLong));
        assert_eq!(Filter::parse(&"not ".repeat(17)), Err(FilterError::TooLong));
        assert_eq!(Filter::parse(&"a or ".repeat(150)), Err(FilterError::TooLong));
        assert_eq!(Filter::parse(&"a".repeat(3000)), Err(FilterError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(Reading|Name|Status/Health|On|eq|ne|lt|and|or|not|[()]|'x'|1|null| ){0,20}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.holds(&member());
            }
        }

        #[test]
        fn what_holds_may_hold_whatever_is_left_out(
            text in "(Reading|Name|On) (eq|ne|lt) (1|true|'x')( (and|or) (not )?(Reading|Nope|On) (eq|ge) (41[.]5|null|true)){0,3}",
            open in prop::sample::subsequence(vec!["Reading", "Name", "On", "Nope"], 0..=4),
        ) {
            let filter = Filter::parse(&text).unwrap();
            prop_assert!(!filter.holds(&member()) || filter.may_hold(&member(), &open), "{text}");
            prop_assert_eq!(filter.may_hold(&member(), &[]), filter.holds(&member()), "{}", text);
        }

        #[test]
        fn a_condition_and_its_contrary_are_never_both_true(text in "(Reading|On) (eq|ne|lt|ge) (1|true|41[.]5)") {
            let contrary = format!("not ({text})");
            let of = |text: &str| Filter::parse(text).unwrap().holds(&member());
            prop_assert_ne!(of(&text), of(&contrary));
        }
    }
}
