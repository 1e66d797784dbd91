//! Stand-ins for a value that was never filled in.

use zeroize::Zeroizing;

/// Longer values are documents, not stand-ins.
const LONGEST: usize = 256;

/// What is left of a stand-in without case and punctuation.
const WHOLE: &[&str] = &[
    "changeme",
    "changeit",
    "changethis",
    "replaceme",
    "replacethis",
    "fixme",
    "todo",
    "tbd",
    "example",
    "sample",
    "dummy",
    "placeholder",
    "redacted",
    "removed",
    "hidden",
    "masked",
    "secret",
    "password",
    "passwd",
    "token",
    "apikey",
    "none",
    "null",
    "nil",
    "undefined",
    "na",
    "notset",
    "unset",
    "empty",
    "fillmein",
    "inserthere",
    "foobar",
    "mysecret",
    "mypassword",
    "mytoken",
    "myapikey",
];
/// What gives one away inside a single word, if it makes up a third of it.
const INSIDE: &[&str] = &[
    "changeme",
    "changethis",
    "replaceme",
    "replacewith",
    "placeholder",
    "yourapikey",
    "yoursecret",
    "yourtoken",
    "yourpassword",
    "youraccess",
    "yourkey",
    "example",
    "insertyour",
    "enteryour",
    "notarealkey",
    "redacted",
    "dummykey",
    "fakekey",
];

/// Whether the value is a stand-in: a known word, a template (`${VAR}`, `<token>`), filler
/// (`xxxx`, `****`), or a documented example such as those that end in `EXAMPLE`.
pub(super) fn is_one(text: &[char]) -> bool {
    if text.len() > LONGEST {
        return false;
    }
    let whole: Zeroizing<String> = Zeroizing::new(text.iter().collect());
    let trimmed = whole.trim();
    let plain: Zeroizing<String> = Zeroizing::new(
        trimmed
            .chars()
            .filter(|c| c.is_alphanumeric())
            .map(|c| c.to_ascii_lowercase())
            .collect(),
    );
    let secret_of_url = trimmed.split_once("://").and_then(|(_, rest)| {
        let (user, _) = rest.rsplit_once('@')?;
        Some(user.split_once(':')?.1)
    });
    if let Some(password) = secret_of_url {
        return is_one(&Zeroizing::new(password.chars().collect::<Vec<_>>()));
    }
    is_template(trimmed)
        || is_filler(trimmed)
        || WHOLE.contains(&plain.as_str())
        || your_something(&plain)
        || trimmed.ends_with("EXAMPLE")
        || trimmed.ends_with("EXAMPLEKEY")
        || (!trimmed.contains(|c: char| c.is_whitespace() || "\"{}:".contains(c))
            && INSIDE
                .iter()
                .any(|mark| mark.len() * 3 >= plain.len() && plain.contains(mark)))
}

/// `<...>`, `${...}`, `$(...)`, `$NAME`, `{{...}}`, `%NAME%`, `%(...)s`, `[...]`, `__NAME__`.
fn is_template(text: &str) -> bool {
    let name = |inner: &str| {
        !inner.is_empty()
            && inner
                .chars()
                .all(|c| c.is_alphanumeric() || " _-.:/|?'\"()".contains(c))
    };
    let wrapped = [
        ("<", ">"),
        ("${{", "}}"),
        ("${", "}"),
        ("$(", ")"),
        ("{{", "}}"),
        ("%(", ")s"),
        ("[", "]"),
    ]
    .iter()
    .any(|(open, close)| {
        text.strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close))
            .is_some_and(name)
    });
    let upper = |inner: &str| {
        inner.len() >= 3
            && inner.contains(|c: char| c.is_ascii_uppercase())
            && inner
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let marked = [("%", "%"), ("__", "__"), ("$", "")]
        .iter()
        .any(|(open, close)| {
            text.strip_prefix(open)
                .and_then(|rest| rest.strip_suffix(close))
                .is_some_and(upper)
        });
    wrapped || marked
}

/// Three or more of one filler character, whatever separates them.
fn is_filler(text: &str) -> bool {
    let mut letters = text
        .chars()
        .filter(|c| !"-_ ".contains(*c))
        .map(|c| c.to_ascii_lowercase());
    match letters.next() {
        Some(first) if "x*.?0•…#".contains(first) => {
            let rest = letters.try_fold(1, |count, c| (c == first).then_some(count + 1));
            rest.is_some_and(|count| count >= 3)
        }
        _ => false,
    }
}

/// `your_api_key_here` and its like.
fn your_something(plain: &str) -> bool {
    let rest = plain
        .strip_prefix("your")
        .or_else(|| plain.strip_prefix("my"))
        .map(|r| r.trim_end_matches("here"));
    rest.is_some_and(|rest| {
        rest.len() <= 32
            && [
                "key",
                "token",
                "secret",
                "password",
                "passwd",
                "credential",
                "credentials",
            ]
            .iter()
            .any(|noun| rest.ends_with(noun))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_told_from_values() {
        let table: (&[&str], &[&str]) = (
            &[
                "changeme",
                "Change-Me!",
                "YOUR_API_KEY",
                "your-github-token-here",
                "xxxx",
                "XXXX-XXXX-XXXX",
                "********",
                "<password>",
                "<your token here>",
                "${DB_PASSWORD}",
                "${{ secrets.TOKEN }}",
                "{{ vault.password }}",
                "$DB_PASSWORD",
                "%DB_PASSWORD%",
                "TODO",
                "null",
                "sk_test_placeholder",
                "AKIAIOSFODNN7EXAMPLE",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                "postgres://app:${DB_PASSWORD}@db.example.com/orders",
                "postgres://app:changeme@db/orders",
                " changeme\n",
            ],
            &[
                "",
                "k3Jx.9_vQm~2Lw-8rTz+5YbN",
                "correct horse battery staple",
                "my example of a long passphrase",
                "postgres://app:k3Jx9vQm2Lw8@db.example.com/orders",
                "{\"host\":\"db.example.com\"}",
                "xkcd",
                "00",
                "$2b$12$abcdefghijk",
                "<xml><a>1</a></xml>",
            ],
        );
        for text in table.0 {
            assert!(is_one(&text.chars().collect::<Vec<_>>()), "{text}");
        }
        for text in table.1 {
            assert!(!is_one(&text.chars().collect::<Vec<_>>()), "{text}");
        }
    }
}
