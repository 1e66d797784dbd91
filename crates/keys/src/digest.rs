//! SHA-256 (FIPS 180-4) of what is secret.

use aws_lc_rs::digest::{SHA256, digest};
use pentad_model::Secret;

/// The digest. Computed in one go, which leaves nothing of the secret on the stack; a hasher that is
/// fed keeps the last block in a buffer that moves.
///
/// Only for what can't be guessed, such as a token of 256 random bits.
pub fn sha256(secret: &Secret) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret.expose()).as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residue;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(sha256(&Secret::new("abc"))), digest);
    }

    #[test]
    fn nothing_of_the_secret_stays_on_the_stack() {
        let left = residue::left_behind(
            || {
                let tokens = residue::canaries([16, 48, 63, 64, 100]);
                for token in &tokens {
                    sha256(token);
                }
                tokens
            },
            |tokens| residue::bytes(tokens),
        );
        assert_eq!(left, 0);
    }
}
