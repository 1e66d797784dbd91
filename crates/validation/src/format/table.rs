//! The formats. Examples of tokens are split where a scanner would take them for live ones; none is.

use super::{Format, encoded, token};

const ALNUM: fn(char) -> bool = |c| c.is_ascii_alphanumeric();
const URL_SAFE: fn(char) -> bool = |c| c.is_ascii_alphanumeric() || c == '-' || c == '_';

/// Every format, the specific before the general.
pub const FORMATS: &[Format] = &[
    Format {
        name: "pem_certificate_with_key",
        description: "An X.509 certificate and its private key, PEM (RFC 7468).",
        fits: |text| {
            encoded::pem(text)
                .is_some_and(|found| found.certificate && found.private_key)
                .into()
        },
        examples: &[concat!(
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n",
            "-----BEGIN ",
            "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n"
        )],
        counter_examples: &[
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n",
        ],
    },
    Format {
        name: "pem_certificate",
        description: "One or more X.509 certificates, PEM (RFC 7468).",
        fits: |text| {
            encoded::pem(text)
                .is_some_and(|found| found.certificate && !found.private_key)
                .into()
        },
        examples: &[
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\r\nMIIBszCCAVmgAwIBAgIU\r\n-----END CERTIFICATE-----",
        ],
        counter_examples: &[
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\naGVsbG8gd29ybGQ=\n-----END CERTIFICATE-----",
        ],
    },
    Format {
        name: "openssh_private_key",
        description: "A private key in OpenSSH's own form (PROTOCOL.key).",
        fits: |text| encoded::pem(text).is_some_and(|found| found.openssh).into(),
        examples: &[concat!(
            "-----BEGIN OPENSSH ",
            "PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n",
            "-----END OPENSSH PRIVATE KEY-----\n"
        )],
        counter_examples: &[concat!(
            "-----BEGIN OPENSSH ",
            "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n",
            "-----END OPENSSH PRIVATE KEY-----\n"
        )],
    },
    Format {
        name: "pem_private_key",
        description: "A private key, PEM: PKCS#8 (RFC 5958), PKCS#1 or SEC 1, also encrypted.",
        fits: |text| {
            encoded::pem(text)
                .is_some_and(|found| found.private_key && !found.openssh)
                .into()
        },
        examples: &[
            concat!(
                "-----BEGIN ",
                "PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----"
            ),
            concat!(
                "-----BEGIN RSA ",
                "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMC4CAQAwBQYDK2Vw\n-----END RSA PRIVATE KEY-----"
            ),
        ],
        counter_examples: &[
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9E\n-----END PUBLIC KEY-----",
            concat!(
                "-----BEGIN EC ",
                "PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END RSA PRIVATE KEY-----"
            ),
        ],
    },
    Format {
        name: "jwt",
        description: "A JSON Web Token: signed, with a header that names its algorithm (RFC 7519).",
        fits: |text| encoded::is_jwt(text).into(),
        examples: &[concat!(
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.",
            "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
        )],
        counter_examples: &[
            "aGVsbG8.d29ybGQ.aGVsbG8",
            "eyJhbGciOiJIUzI1NiJ9.e30",
            "www.example.com",
        ],
    },
    Format {
        name: "github_token",
        description: "A GitHub token (personal, OAuth, user, server or refresh), checksum included.",
        fits: |text| token::crc32_base62(text, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"]),
        examples: &[concat!("ghp", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17")],
        counter_examples: &[
            concat!("ghx", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"),
            concat!("ghp", "_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq1"),
        ],
    },
    Format {
        name: "github_fine_grained_token",
        description: "A fine-grained personal token of GitHub.",
        fits: |text| {
            let parts = text
                .strip_prefix("github_pat_")
                .and_then(|rest| rest.split_once('_'));
            parts
                .is_some_and(|(id, secret)| {
                    token::all(id, 22..=22, ALNUM) && token::all(secret, 59..=59, ALNUM)
                })
                .into()
        },
        examples: &[concat!(
            "github",
            "_pat_11ABCDEFG0aBcDeFgHiJkL_",
            "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fG3hJ5kL7nP9qR1tU3wX5zA7cE9gI"
        )],
        counter_examples: &[concat!("github", "_pat_11ABCDEFG0aBcDeFgHiJkL")],
    },
    Format {
        name: "gitlab_token",
        description: "A personal access token of GitLab.",
        fits: |text| token::prefixed(text, "glpat-", 20..=300, |c| URL_SAFE(c) || c == '.'),
        examples: &[concat!("glpat", "-k3Jx9vQm2Lw8rTz5YbN7")],
        counter_examples: &[concat!("glpat", "-short")],
    },
    Format {
        name: "npm_token",
        description: "An access token of the npm registry.",
        fits: |text| token::prefixed(text, "npm_", 36..=36, ALNUM),
        examples: &[concat!("npm", "_k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8gWt1cX")],
        counter_examples: &[concat!("npm", "_k3Jx9vQm2Lw8rTz5YbN7")],
    },
    Format {
        name: "pypi_token",
        description: "An upload token of PyPI: a macaroon issued for pypi.org.",
        fits: |text| token::prefixed(text, "pypi-AgEIcHlwaS5vcmc", 50..=1000, URL_SAFE),
        examples: &[concat!(
            "pypi",
            "-AgEIcHlwaS5vcmcCJGIyYzQ1ZjE2LTM0YjItNGQwZi04YzZhLTdkOGU5ZjBhMWIyYwACKlszLCJh"
        )],
        counter_examples: &[concat!("pypi", "-AgEIcHlwaS5vcmc")],
    },
    Format {
        name: "aws_access_key_id",
        description: "The id of an AWS access key: permanent (AKIA) or temporary (ASIA).",
        fits: |text| {
            let base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
            let rest = text
                .strip_prefix("AKIA")
                .or_else(|| text.strip_prefix("ASIA"));
            rest.is_some_and(|rest| token::all(rest, 16..=16, base32))
                .into()
        },
        examples: &[
            concat!("AKIA", "IOSFODNN7EXAMPLE"),
            concat!("ASIA", "Y34FZKBOKMUTVV7A"),
        ],
        counter_examples: &[
            concat!("AKIA", "IOSFODNN8EXAMPLE"),
            concat!("AKIA", "IOSFODNN7EXAMPL"),
        ],
    },
    Format {
        name: "stripe_key",
        description: "A secret, restricted or publishable key of Stripe.",
        fits: |text| {
            ["sk_", "rk_", "pk_"]
                .iter()
                .filter_map(|kind| text.strip_prefix(kind))
                .filter_map(|rest| {
                    rest.strip_prefix("live_")
                        .or_else(|| rest.strip_prefix("test_"))
                })
                .any(|rest| token::all(rest, 16..=247, ALNUM))
                .into()
        },
        examples: &[
            concat!("sk", "_test_4eC39HqLyjWDarjtT1zdp7dc"),
            concat!("rk", "_live_k3Jx9vQm2Lw8rTz5YbN7Hd4p"),
        ],
        counter_examples: &[
            concat!("sk", "_prod_4eC39HqLyjWDarjtT1zdp7dc"),
            concat!("sk", "_test_4eC39"),
        ],
    },
    Format {
        name: "slack_token",
        description: "A token of Slack: bot, user, app, refresh or configuration.",
        fits: |text| {
            let rest = [
                "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-",
            ]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
            rest.is_some_and(|rest| {
                rest.contains('-') && token::all(rest, 20..=400, |c| ALNUM(c) || c == '-')
            })
            .into()
        },
        examples: &[concat!(
            "xoxb",
            "-123456789012-1234567890123-k3Jx9vQm2Lw8rTz5YbN7Hd4p"
        )],
        counter_examples: &[
            concat!("xoxz", "-123456789012-1234567890123-k3Jx9vQm2Lw8rTz5"),
            "xoxb-1",
        ],
    },
    Format {
        name: "google_api_key",
        description: "An API key of Google.",
        fits: |text| token::prefixed(text, "AIza", 35..=35, URL_SAFE),
        examples: &[concat!("AIza", "SyD-k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8g")],
        counter_examples: &[concat!("AIza", "SyD-k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8")],
    },
    Format {
        name: "sendgrid_key",
        description: "An API key of SendGrid.",
        fits: |text| {
            let parts = text
                .strip_prefix("SG.")
                .and_then(|rest| rest.split_once('.'));
            parts
                .is_some_and(|(id, secret)| {
                    token::all(id, 22..=22, URL_SAFE) && token::all(secret, 43..=43, URL_SAFE)
                })
                .into()
        },
        examples: &[concat!(
            "SG",
            ".k3Jx9vQm2Lw8rTz5YbN7Hd.k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8gWt1cXo6Ej0aB"
        )],
        counter_examples: &[concat!("SG", ".k3Jx9vQm2Lw8rTz5YbN7Hd.k3Jx9")],
    },
    Format {
        name: "connection_string",
        description: "A connection string with a password: a URL, or `key=value` pairs.",
        fits: |text| encoded::is_connection_string(text).into(),
        examples: &[
            "postgres://app:k3Jx9vQm2Lw8@db.internal:5432/orders",
            "redis://:k3Jx9vQm2Lw8@cache:6379/0",
            "Server=db;Database=orders;User Id=app;Password=k3Jx9vQm2Lw8;",
            "host=db user=app password=k3Jx9vQm2Lw8",
        ],
        counter_examples: &[
            "https://example.com/a:b@c",
            "postgres://app@db/orders",
            "password=",
            "a=b;c=d",
        ],
    },
    Format {
        name: "uuid",
        description: "A UUID (RFC 9562). An identifier: not every one is random.",
        fits: |text| token::is_uuid(text).into(),
        examples: &["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
        counter_examples: &[
            "f81d4fae-7dec-11d0-a765-00a0c91e6bf",
            "f81d4fae07dec011d00a765000a0c91e6bf6",
        ],
    },
    Format {
        name: "hex",
        description: "Hexadecimal, 16 bytes or more.",
        fits: |text| {
            let hex = text.len() >= 32
                && text.len() % 2 == 0
                && text.bytes().all(|b| b.is_ascii_hexdigit());
            let one_case = !(text.contains(|c: char| c.is_ascii_lowercase())
                && text.contains(|c: char| c.is_ascii_uppercase()));
            (hex && one_case && text.bytes().any(|b| b.is_ascii_alphabetic())).into()
        },
        examples: &[
            "d41d8cd98f00b204e9800998ecf8427e",
            "D41D8CD98F00B204E9800998ECF8427E",
        ],
        counter_examples: &[
            "d41d8cd98f00b204",
            "12345678901234567890123456789012",
            "d41d8cd98f00b204e9800998ecf8427g",
        ],
    },
    Format {
        name: "base64",
        description: "Base64 (RFC 4648), 18 bytes or more, standard or URL-safe alphabet.",
        fits: |text| encoded::is_base64(text).into(),
        examples: &[
            "k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8gWt1cXo6Ej0aA=",
            "k3Jx9vQm2Lw8rTz5-bN7Hd4p_6sZq8gW",
        ],
        counter_examples: &[
            "correcthorsebatterystaple",
            "k3Jx9vQm2Lw8",
            "k3Jx9vQm2Lw8rTz5YbN7Hd4pF6sZq8g=t1c",
            "k3Jx9vQm2Lw8r+z5-bN7Hd4p_6sZq8gW",
        ],
    },
];
