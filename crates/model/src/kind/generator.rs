//! How a new value is made. The encryption agent carries it out; this only describes it.

use serde::{Deserialize, Serialize};

/// The characters of a generated text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// A-Z a-z 0-9.
    Alphanumeric,
    /// Letters, digits and the punctuation that no shell, URL or SQL quoting trips over: `-._~+`.
    Safe,
    /// Every printable ASCII character but space, quotes and backslash.
    Printable,
    /// 0-9 a-f.
    Hex,
    /// RFC 4648 section 5.
    Base64Url,
}

/// A recipe for a new value.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Generator {
    /// A password with at least one character of each class that the alphabet has.
    Password {
        /// Characters; 12 to 256.
        length: u16,
        /// What they are drawn from.
        alphabet: Alphabet,
    },
    /// A token: a fixed prefix and random characters.
    Token {
        /// Shown before the random part, such as `pk_live_`.
        #[serde(default)]
        prefix: String,
        /// Random characters; 16 to 512.
        length: u16,
        /// What they are drawn from.
        alphabet: Alphabet,
    },
    /// An RSA private key, PKCS#8 PEM.
    Rsa {
        /// 2048, 3072 or 4096.
        bits: u16,
    },
    /// An ECDSA private key, PKCS#8 PEM.
    Ecdsa {
        /// The curve.
        curve: Curve,
    },
    /// An Ed25519 private key, PKCS#8 PEM (RFC 8410).
    Ed25519,
    /// A self-signed X.509 certificate with its key, PEM, certificate first.
    Certificate {
        /// Subject alternative names; the first is the common name.
        names: Vec<String>,
        /// Validity from now, in days.
        days: u16,
    },
    /// An OpenSSH private key.
    Ssh {
        /// The comment at its end.
        #[serde(default)]
        comment: String,
    },
}

/// NIST curves (FIPS 186-5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

impl Generator {
    /// What rotations of database accounts use: 32 characters, about 190 bits.
    pub fn database_password() -> Self {
        Self::Password {
            length: 32,
            alphabet: Alphabet::Safe,
        }
    }
}
