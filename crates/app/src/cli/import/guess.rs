//! What sort of credential a value is, where its file does not say: by its form, then by its name. A
//! guess is for new credentials only, and the preview shows it.

use pentad_model::{Kind, Path};
use pentad_validation::format::recognise;

/// A guess.
pub(super) fn kind(path: &Path, value: Option<&str>, is_bound: bool) -> Kind {
    by_form(value.unwrap_or_default())
        .or_else(|| is_bound.then_some(Kind::Database))
        .unwrap_or_else(|| by_name(path))
}

fn by_form(value: &str) -> Option<Kind> {
    let found = recognise(value)?;
    Some(match found.format.name {
        "pem_certificate" | "pem_certificate_with_key" => Kind::Certificate,
        "openssh_private_key" => Kind::SshKey,
        "pem_private_key" => Kind::SigningKey,
        "connection_string" => Kind::ConnectionString,
        "aws_access_key_id" | "stripe_key" | "google_api_key" | "sendgrid_key" => Kind::ApiKey,
        // An encoding says nothing of what is encoded.
        "uuid" | "hex" | "base64" => return None,
        // All others are tokens of some issuer.
        _ => Kind::Token,
    })
}

fn by_name(path: &Path) -> Kind {
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if says(&["password", "passwd", "passphrase", "pwd"]) {
        Kind::Password
    } else if says(&["token"]) {
        Kind::Token
    } else if says(&["api_key", "apikey", "api-key", "access_key"]) {
        Kind::ApiKey
    } else {
        Kind::Secret
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_form_says_more_than_the_name_and_an_encoding_nothing() {
        let guess = |path: &str, value: &str| kind(&path.parse().unwrap(), Some(value), false);
        let github = concat!("ghp", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17");
        assert_eq!(guess("app/PASSWORD", github), Kind::Token);
        assert_eq!(
            guess("app/DATABASE_URL", "postgres://u:p@db/x"),
            Kind::ConnectionString
        );
        assert_eq!(
            guess("app/DB_PASSWORD", "deadbeefdeadbeefdeadbeefdeadbeef"),
            Kind::Password
        );
        assert_eq!(guess("app/STRIPE_API_KEY", "whatever"), Kind::ApiKey);
        assert_eq!(guess("app/OTHER", "whatever"), Kind::Secret);
        assert_eq!(
            kind(&"a/b".parse().unwrap(), Some("x"), true),
            Kind::Database
        );
    }
}
