//! New values: carries out every [`Generator`].
//!
//! Text and seeds come from the [`Entropy`] handed in; RSA and ECDSA keys from AWS-LC's CSPRNG,
//! seeded by the operating system, because it offers no other way. What the bounds in
//! `pentad_model::kind::generator` exclude is refused with an error that names the bound. Key pairs
//! are PKCS#8 version 1, which every tool reads.
//!
//! | generator | file |
//! |---|---|
//! | passwords, tokens | `text.rs` |
//! | RSA, ECDSA, Ed25519, OpenSSH | `pair.rs` |
//! | X.509 | `certificate.rs` |

mod certificate;
mod pair;
mod text;

use pentad_model::{Secret, Timestamp, id::Entropy, kind::Generator};

/// Why no value was made. All but the last two are the recipe's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// A length outside its bounds.
    #[error("a {what} must have {min} to {max} random characters, not {given}")]
    Length {
        /// Which sort of text.
        what: &'static str,
        /// The least.
        min: u16,
        /// The most.
        max: u16,
        /// What the recipe says.
        given: u16,
    },
    /// A token prefix that is long or not plain.
    #[error("a token's prefix may have up to 64 printable ASCII characters without spaces")]
    Prefix,
    /// An RSA size that is weak or unusual.
    #[error("an RSA key has 2048, 3072 or 4096 bits, not {0}")]
    RsaBits(u16),
    /// No name, or too many.
    #[error("a certificate needs 1 to 100 names")]
    NameCount,
    /// A name that is neither an address nor a host name.
    #[error(
        "{0:?} is neither an IP address nor a host name; the first name may have 64 characters, \
         others 253"
    )]
    HostName(String),
    /// A validity outside its bounds.
    #[error("a certificate is valid for 1 to 3650 days, not {0}")]
    Days(u16),
    /// A comment that would break its line.
    #[error("an SSH key's comment may have up to 256 characters, none of them a control character")]
    Comment,
    /// The clock is outside what a certificate can say.
    #[error("the clock stands outside the years 1970 to 9000; set it and try again")]
    Clock,
    /// The random source repeats itself.
    #[error("the random source is broken; nothing was generated: check the machine")]
    Entropy,
    /// The cryptographic library failed.
    #[error("the cryptographic library failed; try again, and check the machine's memory")]
    Primitive,
}

impl From<aws_lc_rs::error::Unspecified> for GenerateError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Primitive
    }
}

impl From<aws_lc_rs::error::KeyRejected> for GenerateError {
    fn from(_: aws_lc_rs::error::KeyRejected) -> Self {
        Self::Primitive
    }
}

/// Makes a new value by `recipe`. `now` is where a certificate's validity starts.
///
/// # Errors
/// See [`GenerateError`]. Nothing is made then.
pub fn generate(
    recipe: &Generator,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Secret, GenerateError> {
    match recipe {
        Generator::Password { length, alphabet } => text::password(*length, *alphabet, entropy),
        Generator::Token {
            prefix,
            length,
            alphabet,
        } => text::token(prefix, *length, *alphabet, entropy),
        Generator::Rsa { bits } => pair::rsa(*bits),
        Generator::Ecdsa { curve } => pair::ecdsa(*curve),
        Generator::Ed25519 => pair::ed25519(entropy),
        Generator::Ssh { comment } => pair::ssh(comment, entropy),
        Generator::Certificate { names, days } => {
            certificate::self_signed(names, *days, now, entropy)
        }
    }
}

/// From how many values, as a power of two and rounded down, `recipe` draws one uniformly; `None`
/// where a value is no such text.
pub fn drawn_bits(recipe: &Generator) -> Option<u16> {
    match recipe {
        // Of all texts, more than half have every class: see `text.rs`.
        Generator::Password { length, alphabet } => {
            Some(text::bits(*length, *alphabet).saturating_sub(1))
        }
        Generator::Token {
            length, alphabet, ..
        } => Some(text::bits(*length, *alphabet)),
        Generator::Rsa { .. }
        | Generator::Ecdsa { .. }
        | Generator::Ed25519
        | Generator::Ssh { .. }
        | Generator::Certificate { .. } => None,
    }
}

/// Whether `recipe` takes long (0.1 to several seconds of CPU): run it on the pool for such work.
pub fn is_heavy(recipe: &Generator) -> bool {
    matches!(recipe, Generator::Rsa { .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use pentad_model::{Kind, kind::Alphabet};

    use super::*;
    use crate::testing::SeededEntropy;

    #[test]
    fn what_every_kind_makes_by_default_works_and_fits() {
        let entropy = SeededEntropy::new(1);
        for kind in Kind::ALL {
            let profile = kind.profile();
            if let Some(recipe) = profile.generator {
                let value = generate(&recipe(), Timestamp(0), &entropy).unwrap();
                assert!(
                    !value.is_empty() && value.len() <= profile.max_bytes,
                    "{kind}"
                );
            }
        }
    }

    #[test]
    fn what_is_drawn_is_known_to_the_bit() {
        let of = |length, alphabet| drawn_bits(&Generator::Password { length, alphabet });
        assert_eq!(of(32, Alphabet::Safe), Some(193)); // 32 * log2(67) - 1
        assert_eq!(of(12, Alphabet::Hex), Some(47));
        assert_eq!(drawn_bits(&Generator::Ed25519), None);
        let token = Generator::Token {
            prefix: "pk_live_".repeat(8),
            length: 16,
            alphabet: Alphabet::Hex,
        };
        // What is fixed adds nothing.
        assert_eq!(drawn_bits(&token), Some(64));
    }

    #[test]
    fn only_rsa_is_heavy() {
        assert!(is_heavy(&Generator::Rsa { bits: 4096 }));
        assert!(!is_heavy(&Generator::Ed25519));
    }
}
