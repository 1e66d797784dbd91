//! Path patterns: parsed once, matched without allocating.
//!
//! A pattern has segments joined by `/`. A segment is literal text, or holds `*`, each standing for
//! any text, also none, within that segment. A last segment `**` is everything below, at least one
//! segment deep: `prod/**` matches `prod/db` and `prod/a/b`, not `prod`. `**` alone matches every
//! path. A lone `*` matches any one segment.

use pentad_model::{Path, name::MAX_PATH};

/// Why a text is not a pattern. Messages name what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Nothing there.
    #[error("a pattern must not be empty; write `**` for every path")]
    Empty,
    /// Longer than any path.
    #[error("a pattern may have at most {MAX_PATH} bytes")]
    TooLong,
    /// `/` at its start or end, or two in a row; `.` or `..`.
    #[error(
        "a pattern has no leading, trailing or double `/` and no `.` or `..` segment; \
         write `prod/orders/**`, not `/prod/orders/`"
    )]
    Segment,
    /// `**` where it means nothing.
    #[error(
        "`**` may only be the last segment, as in `prod/**`; \
         for one segment in the middle write `*`, as in `prod/*/db`"
    )]
    DoubleStar,
    /// A character that no path has.
    #[error("a pattern may hold letters, digits and . _ - @ + / *, not {0:?}")]
    Character(char),
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: Box<str>,
    pub(super) segments: Box<[Segment]>,
    pub(super) below: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    Any,
    /// Holds at least one `*` beside other text.
    Glob(Box<str>),
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() {
            return Err(InvalidPattern::Empty);
        }
        if text.len() > MAX_PATH {
            return Err(InvalidPattern::TooLong);
        }
        let (body, below) = match text.strip_suffix("**") {
            Some("") => ("", true),
            Some(body) => match body.strip_suffix('/') {
                Some(body) => (body, true),
                None => return Err(InvalidPattern::DoubleStar),
            },
            None => (text, false),
        };
        let segments = if body.is_empty() && text == "**" {
            Vec::new()
        } else {
            body.split('/')
                .map(Segment::parse)
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
            below,
        })
    }

    /// Whether this is `**`.
    pub(crate) fn is_everything(&self) -> bool {
        self.below && self.segments.is_empty()
    }

    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.matches_text(path.as_str())
    }

    /// As [`matches`](Self::matches), for the text of a path.
    pub(super) fn matches_text(&self, path: &str) -> bool {
        let mut parts = path.split('/');
        for segment in &self.segments {
            match parts.next() {
                Some(part) if segment.matches(part) => {}
                _ => return false,
            }
        }
        // What is left must be nothing, or for `**` at least one segment.
        parts.next().is_some() == self.below
    }

    /// How many of the path's leading segments agree, to find the nearest rule.
    pub(crate) fn agreement(&self, path: &Path) -> usize {
        self.segments
            .iter()
            .zip(path.segments())
            .take_while(|(segment, part)| segment.matches(part))
            .count()
    }

    /// Whether some path that begins with the text `prefix` could match. Exact.
    pub(crate) fn may_match_under(&self, prefix: &str) -> bool {
        let (whole, partial) = split_prefix(prefix);
        let mut segments = self.segments.iter();
        for part in whole {
            match segments.next() {
                Some(segment) if segment.matches(part) => {}
                Some(_) => return false,
                None => return self.below,
            }
        }
        match segments.next() {
            Some(segment) => segment.may_begin_with(partial),
            None => self.below,
        }
    }

    /// Whether every path that begins with the text `prefix` matches. May miss some.
    pub(crate) fn covers(&self, prefix: &str) -> bool {
        let (whole, _) = split_prefix(prefix);
        let mut parts = whole.into_iter();
        self.below
            && self
                .segments
                .iter()
                .all(|segment| parts.next().is_some_and(|part| segment.matches(part)))
    }

    /// The longest text that every matching path begins with.
    pub(crate) fn literal_prefix(&self) -> &str {
        let stars = self.text.find('*').unwrap_or(self.text.len());
        &self.text[..stars]
    }
}

/// Whole segments, and the beginning of the next one (possibly empty).
fn split_prefix(prefix: &str) -> (Vec<&str>, &str) {
    match prefix.rsplit_once('/') {
        Some((whole, partial)) => (whole.split('/').collect(), partial),
        None => (Vec::new(), prefix),
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.is_empty() || text == "." || text == ".." {
            return Err(InvalidPattern::Segment);
        }
        if text.contains("**") {
            return Err(InvalidPattern::DoubleStar);
        }
        if let Some(found) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "._-@+*".contains(*c)))
        {
            return Err(InvalidPattern::Character(found));
        }
        Ok(match text {
            "*" => Self::Any,
            _ if text.contains('*') => Self::Glob(text.into()),
            _ => Self::Literal(text.into()),
        })
    }

    pub(super) fn matches(&self, part: &str) -> bool {
        match self {
            Self::Literal(text) => **text == *part,
            Self::Any => true,
            Self::Glob(text) => glob(text.as_bytes(), part.as_bytes()),
        }
    }

    fn may_begin_with(&self, partial: &str) -> bool {
        match self {
            Self::Literal(text) => text.starts_with(partial),
            Self::Any => true,
            // Behind its first `*` a glob takes whatever comes.
            Self::Glob(text) => {
                let literal = text.split('*').next().unwrap_or_default();
                partial.starts_with(literal) || literal.starts_with(partial)
            }
        }
    }
}

/// `*` is any text. On a mismatch only the last star is widened: that is enough, and it bounds the
/// work by the product of both lengths, where trying every star would be exponential.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_what_the_documentation_says() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("**", &["a", "a/b/c"], &[]),
            ("*", &["a"], &["a/b"]),
            (
                "prod/**",
                &["prod/db", "prod/a/b"],
                &["prod", "product/a", "dev/prod/a"],
            ),
            (
                "prod/*/db",
                &["prod/x/db"],
                &["prod/db", "prod/x/y/db", "prod/x/db2"],
            ),
            (
                "prod/web-*",
                &["prod/web-", "prod/web-1"],
                &["prod/we", "prod/web-1/x"],
            ),
            ("*-db/**", &["a-db/x"], &["a-db", "a-dbx/x"]),
            ("a*b*c", &["abc", "aXbYc", "abbcc"], &["ab", "abcd", "xabc"]),
            ("*/**", &["a/b", "a/b/c"], &["a"]),
            ("a.b", &["a.b"], &["aXb"]),
        ];
        for (pattern, yes, no) in table {
            let parsed = Pattern::parse(pattern).unwrap();
            for path in *yes {
                assert!(parsed.matches(&path.parse().unwrap()), "{pattern} {path}");
            }
            for path in *no {
                assert!(!parsed.matches(&path.parse().unwrap()), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn mistakes_are_refused_with_the_remedy() {
        use InvalidPattern as I;
        for (text, error) in [
            ("", I::Empty),
            ("/prod", I::Segment),
            ("prod/", I::Segment),
            ("a//b", I::Segment),
            ("a//**", I::Segment),
            ("/**", I::Segment),
            ("a/../b", I::Segment),
            ("**/db", I::DoubleStar),
            ("a/**/b", I::DoubleStar),
            ("prod**", I::DoubleStar),
            ("***", I::DoubleStar),
            ("a/?", I::Character('?')),
            ("a b", I::Character(' ')),
            ("pröd/**", I::Character('ö')),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
        assert_eq!(Pattern::parse(&"x".repeat(MAX_PATH + 1)), Err(I::TooLong));
    }

    #[test]
    fn a_hostile_glob_is_cheap() {
        let pattern = Pattern::parse(&format!("{}b", "a*".repeat(200))).unwrap();
        assert!(!pattern.matches(&"a".repeat(500).parse().unwrap()));
    }

    pub(crate) fn any_pattern() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("*".to_owned()), "[ab]{1,2}", "[ab]\\*", "\\*[ab]"];
        (prop::collection::vec(segment, 0..4), any::<bool>()).prop_filter_map(
            "nothing there",
            |(mut parts, below)| {
                if below {
                    parts.push("**".to_owned());
                }
                (!parts.is_empty()).then(|| parts.join("/"))
            },
        )
    }

    fn any_path() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]{1,3}", 1..5).prop_map(|parts| parts.join("/"))
    }

    /// The same language, said the slow and obvious way.
    fn naive(pattern: &[&str], path: &[&str]) -> bool {
        fn segment(pattern: &str, part: &str) -> bool {
            match pattern.chars().next() {
                None => part.is_empty(),
                Some('*') => part
                    .char_indices()
                    .map(|(i, _)| i)
                    .chain([part.len()])
                    .any(|i| segment(&pattern[1..], &part[i..])),
                Some(c) => part.starts_with(c) && segment(&pattern[1..], &part[1..]),
            }
        }
        match (pattern, path) {
            ([], []) => true,
            (["**"], rest) => !rest.is_empty(),
            ([p, ps @ ..], [s, ss @ ..]) => segment(p, s) && naive(ps, ss),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_naive_matcher(pattern in any_pattern(), path in any_path()) {
            let parsed = Pattern::parse(&pattern).unwrap();
            let expected = naive(
                &pattern.split('/').collect::<Vec<_>>(),
                &path.split('/').collect::<Vec<_>>(),
            );
            prop_assert_eq!(parsed.matches(&path.parse().unwrap()), expected);
        }

        #[test]
        fn prefixes_never_lose_a_match(pattern in any_pattern(), path in any_path(), cut in 0usize..16) {
            let parsed = Pattern::parse(&pattern).unwrap();
            let prefix = &path[..cut.min(path.len())];
            let matches = parsed.matches(&path.parse().unwrap());
            if matches {
                prop_assert!(parsed.may_match_under(prefix));
                prop_assert!(path.starts_with(parsed.literal_prefix()));
            }
            if parsed.covers(prefix) {
                prop_assert!(matches);
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Pattern::parse(&text);
        }
    }
}
