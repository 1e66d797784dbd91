//! Values with structure: PEM, JSON Web Tokens, connection strings, base64.

use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use zeroize::Zeroizing;

/// What blocks a PEM text has.
#[derive(Default)]
pub(super) struct Pem {
    pub(super) certificate: bool,
    pub(super) private_key: bool,
    /// A private key in OpenSSH's form.
    pub(super) openssh: bool,
}

/// Reads the blocks of a PEM text (RFC 7468): labels, and how each one's content begins. `None`
/// where a block is cut, empty, or not what its label says. Text between blocks is skipped, as the
/// RFC allows.
pub(super) fn pem(text: &str) -> Option<Pem> {
    if !text.starts_with("-----BEGIN ") {
        return None;
    }
    let mut found = Pem::default();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        let Some(label) = line
            .strip_prefix("-----BEGIN ")
            .and_then(|l| l.strip_suffix("-----"))
        else {
            continue;
        };
        // As much as tells the content's beginning.
        let mut start: Zeroizing<String> = Zeroizing::new(String::with_capacity(32));
        loop {
            let line = lines.next()?;
            if let Some(end) = line.strip_prefix("-----END ") {
                if end.strip_suffix("-----")? != label {
                    return None;
                }
                break;
            }
            // Headers of old encrypted keys, and the line behind them.
            if line.is_empty() || line.contains(": ") {
                continue;
            }
            let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
            if !line.chars().all(base64) {
                return None;
            }
            let missing = 24usize.saturating_sub(start.len()).min(line.len());
            start.push_str(&line[..missing]);
        }
        let content = first_bytes(&start)?;
        match label {
            "CERTIFICATE" => found.certificate |= is_der(&content)?,
            "OPENSSH PRIVATE KEY" => {
                found.private_key = true;
                found.openssh |= content.starts_with(b"openssh-key-v1\0").then_some(true)?;
            }
            _ if label.ends_with("PRIVATE KEY") => {
                // The body of an old encrypted key is ciphertext; its label is all there is.
                found.private_key = true;
            }
            _ => {}
        }
    }
    Some(found)
}

/// DER begins with a SEQUENCE.
fn is_der(content: &[u8]) -> Option<bool> {
    (content.first() == Some(&0x30)).then_some(true)
}

/// Decodes up to 18 bytes.
fn first_bytes(base64: &str) -> Option<Zeroizing<Vec<u8>>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let whole = base64.len() - base64.len() % 4;
    let bytes = LENIENT.decode(&base64[..whole]).ok()?;
    (!bytes.is_empty()).then(|| Zeroizing::new(bytes))
}

/// Three parts of base64url, the first a JSON object that names an algorithm. Claims and signature
/// are checked for their alphabet only.
pub(super) fn is_jwt(text: &str) -> bool {
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let alphabet = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if header.len() > 4096
        || claims.is_empty()
        || ![header, claims, signature].into_iter().all(alphabet)
    {
        return false;
    }
    let Ok(json) = URL_SAFE_NO_PAD.decode(header) else {
        return false;
    };
    serde_json::from_slice::<serde_json::Value>(&json)
        .is_ok_and(|header| header.get("alg").is_some_and(serde_json::Value::is_string))
}

/// `scheme://user:password@host`, or pairs of which one is a password and one says where.
pub(super) fn is_connection_string(text: &str) -> bool {
    if text.len() > 16 * 1024 || text.contains(['\n', '\r']) {
        return false;
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let scheme_fits = !scheme.is_empty()
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let password = authority
            .rsplit_once('@')
            .filter(|(_, host)| !host.is_empty())
            .and_then(|(user, _)| user.split_once(':'))
            .map(|(_, password)| password);
        return scheme_fits && password.is_some_and(|password| !password.is_empty());
    }
    let separator = if text.contains(';') { ';' } else { ' ' };
    let (mut password, mut place) = (false, false);
    for (key, value) in text
        .split(separator)
        .filter_map(|pair| pair.split_once('='))
    {
        if value.trim().is_empty() {
            continue;
        }
        match key.trim().to_ascii_lowercase().as_str() {
            "password" | "pwd" => password = true,
            "server" | "host" | "hostaddr" | "data source" | "address" | "addr" => place = true,
            _ => {}
        }
    }
    password && place
}

/// One alphabet, padding only at the end, and upper case, lower case and digits together, since
/// words and numbers are base64 too.
pub(super) fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let has = |test: fn(&u8) -> bool| body.bytes().any(|b| test(&b));
    let standard = has(|b| b"+/".contains(b));
    let url_safe = has(|b| b"-_".contains(b));
    body.len() >= 24
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(&b))
        && !(standard && url_safe)
        && body.len() % 4 != 1
        && (padding == 0 || text.len().is_multiple_of(4) && padding <= 2)
        && (padding > 0 || body.len().is_multiple_of(4) || url_safe)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}
