//! Preconditions (RFC 9110, section 13): `If-Match: "7"` and `If-None-Match: *`.

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderValue,
        header::{IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
};

use crate::{App, problem::Problem};

/// The revision that the caller saw; 0 for "must not exist yet"; `None` for any.
pub(crate) struct Expected(pub(crate) Option<u64>);

impl FromRequestParts<App> for Expected {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        expected(
            parts.headers.get(IF_MATCH),
            parts.headers.get(IF_NONE_MATCH),
        )
        .map(Self)
    }
}

fn expected(
    same: Option<&HeaderValue>,
    none: Option<&HeaderValue>,
) -> Result<Option<u64>, Problem> {
    let text = |value: Option<&HeaderValue>| value.map(|v| v.to_str().unwrap_or("").to_owned());
    match (text(same), text(none)) {
        (None, None) => Ok(None),
        (None, Some(any)) if any.trim() == "*" => Ok(Some(0)),
        (Some(tag), None) => revision(tag.trim()).map(Some).ok_or_else(|| {
            Problem::invalid(
                "If-Match takes one revision in quotes, as the ETag of the answer had it",
            )
            .hint("for example `If-Match: \"7\"`")
        }),
        (None, Some(_)) => Err(Problem::invalid(
            "If-None-Match takes `*` only: must not exist yet",
        )),
        (Some(_), Some(_)) => Err(Problem::invalid(
            "If-Match and If-None-Match exclude each other; send one",
        )),
    }
}

fn revision(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
        .filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_a_revision_in_quotes() {
        assert_eq!(revision("\"7\""), Some(7));
        for bad in [
            "7",
            "\"\"",
            "\"x\"",
            "W/\"7\"",
            "\"+7\"",
            "*",
            "\"7\", \"8\"",
            "\"0\"",
        ] {
            assert_eq!(revision(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_star_asks_that_nothing_be_there() {
        let star = HeaderValue::from_static("*");
        assert_eq!(expected(None, Some(&star)).ok(), Some(Some(0)));
        assert!(expected(Some(&star), None).is_err());
        assert_eq!(expected(None, None).ok(), Some(None));
    }
}
