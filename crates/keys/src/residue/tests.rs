//! See the module above.

#![allow(clippy::unwrap_used)]

use std::{
    collections::HashSet,
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt as _,
    sync::{Arc, mpsc::channel},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::{
    Kind, Secret, Timestamp,
    id::Entropy as _,
    kind::{Alphabet, Generator, generator::Curve},
};

use super::scrubbed;
use crate::{
    Binding, Keyring, RootKey,
    derive::Key,
    generate::generate,
    operations::{SignatureAlgorithm, decrypt, encrypt, public_key, sign},
    password, pem,
    root::passphrase::{Kdf, RootParameters},
    testing::{SeededEntropy, keyring, tenant},
};

/// How much of a stack is looked at, and how much it has.
const LOOKED_AT: usize = 1024 * 1024;
const STACK: usize = 2 * LOOKED_AT;
/// So many bytes of a needle in a row are residue.
const WINDOW: usize = 12;

/// Values that nobody else has, of these lengths.
pub(crate) fn canaries(lengths: impl IntoIterator<Item = usize>) -> Vec<Secret> {
    let entropy = SeededEntropy::new(0x00ca_4a41);
    lengths
        .into_iter()
        .map(|length| {
            let mut bytes = vec![0; length];
            entropy.fill(&mut bytes);
            Secret::new(bytes)
        })
        .collect()
}

/// How many pieces of `needles` a thread's stack holds after `work`, whose result is kept till
/// then.
pub(crate) fn left_behind<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    needles: impl FnOnce(&T) -> Vec<Vec<u8>>,
) -> usize {
    let (tell, told) = channel();
    let (release, released) = channel::<()>();
    let worker = thread::Builder::new().stack_size(STACK).spawn(move || {
        let here = 0u8;
        let result = below(work);
        tell.send((std::ptr::from_ref(&here).addr(), result))
            .unwrap();
        released.recv().unwrap();
    });
    let (top, result) = told.recv().unwrap();
    let mut stack = vec![0; LOOKED_AT];
    let memory = File::open("/proc/self/mem").unwrap();
    memory
        .read_exact_at(&mut stack, (top - LOOKED_AT) as u64)
        .unwrap();
    release.send(()).unwrap();
    worker.unwrap().join().unwrap();
    let needles = needles(&result);
    let pieces: HashSet<&[u8]> = needles.iter().flat_map(|it| it.windows(WINDOW)).collect();
    stack
        .windows(WINDOW)
        .filter(|piece| pieces.contains(piece))
        .count()
}

/// Far enough down that telling and waiting don't overwrite it.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    let mut room = [0u8; 16 * 1024];
    black_box(&mut room);
    let done = work();
    black_box(&mut room);
    done
}

pub(crate) fn bytes(secrets: &[Secret]) -> Vec<Vec<u8>> {
    secrets.iter().map(|it| it.expose().to_vec()).collect()
}

#[inline(never)]
fn careless(secret: &Secret) -> u8 {
    let mut copy = [0u8; 40];
    copy.copy_from_slice(secret.expose());
    black_box(&mut copy);
    copy.iter().fold(0, |all, byte| all ^ byte)
}

#[test]
fn a_careless_copy_is_seen_and_scrubbing_removes_it() {
    let left = |scrub: bool| {
        let values = canaries([40]);
        left_behind(
            move || {
                let look = || careless(&values[0]);
                black_box(if scrub { scrubbed(look) } else { look() });
                values
            },
            |values| bytes(values),
        )
    };
    assert!(left(false) > 0, "the search finds nothing");
    assert_eq!(left(true), 0);
}

#[test]
fn sealing_and_opening_leave_nothing() {
    let left = left_behind(
        || {
            let (keyring, acme) = (keyring(1, &["acme"]), tenant("acme"));
            let path = "db".parse().unwrap();
            let place = Binding {
                tenant: &acme,
                path: &path,
                version: 1,
                kind: Kind::Secret,
            };
            let values = canaries([16, 24, 48, 63, 64, 65, 100, 1000]);
            for value in &values {
                let sealed = keyring.seal(&place, value).unwrap();
                assert!(keyring.open(&place, &sealed).unwrap() == *value);
            }
            values
        },
        |values| bytes(values),
    );
    assert_eq!(left, 0);
}

#[test]
fn hashing_a_password_leaves_nothing() {
    let left = left_behind(
        || {
            let values = canaries([16, 40, 100]);
            for value in &values {
                let stored = password::hash(value, &SeededEntropy::new(1)).unwrap();
                assert!(password::verify(value, &stored).unwrap());
                password::dummy_verify(value);
            }
            values
        },
        |values| bytes(values),
    );
    assert_eq!(left, 0);
}

#[test]
fn a_root_key_and_its_passphrase_leave_nothing() {
    for kdf in [Kdf::SCRYPT, Kdf::PBKDF2, Kdf::ARGON2ID] {
        let left = left_behind(
            move || {
                let entropy = SeededEntropy::new(1);
                let values = canaries([16, 40, 100]);
                let root = |value| {
                    let parameters = RootParameters::generate(kdf, &entropy).unwrap();
                    parameters.derive(value).unwrap()
                };
                let keys: Vec<RootKey> = values.iter().map(root).collect();
                for value in &values {
                    let entropy = Arc::new(SeededEntropy::new(1));
                    let keyring = Keyring::new(root(value), entropy).unwrap();
                    let wrapped = keyring.create_tenant_key(&tenant("acme")).unwrap();
                    keyring.load_tenant_key(&wrapped).unwrap();
                }
                (values, keys)
            },
            |(values, keys)| {
                let mut needles = bytes(values);
                needles.extend(keys.iter().map(|key| key.0.expose().to_vec()));
                needles
            },
        );
        assert_eq!(left, 0, "{kdf:?}");
    }
}

#[test]
fn making_a_value_leaves_nothing() {
    let names = vec!["db.example".to_owned()];
    for recipe in [
        Generator::Password {
            length: 32,
            alphabet: Alphabet::Printable,
        },
        Generator::Token {
            prefix: String::new(),
            length: 40,
            alphabet: Alphabet::Base64Url,
        },
        Generator::Ecdsa { curve: Curve::P256 },
        Generator::Ecdsa { curve: Curve::P384 },
        Generator::Ed25519,
        Generator::Ssh {
            comment: String::new(),
        },
        Generator::Certificate { names, days: 1 },
        Generator::Rsa { bits: 2048 },
    ] {
        let told = format!("{recipe:?}");
        let left = left_behind(
            move || generate(&recipe, Timestamp(0), &SeededEntropy::new(7)).unwrap(),
            |made| {
                let first = Key::random(&SeededEntropy::new(7));
                let mut needles = made_of(made);
                needles.push(first.expose().to_vec());
                needles
            },
        );
        assert_eq!(left, 0, "{told}");
    }
}

/// What must not be left of a value that was made: its text, or the private numbers of its key,
/// as they are and in base64.
fn made_of(made: &Secret) -> Vec<Vec<u8>> {
    let Some(der) = pem::decode("PRIVATE KEY", made.expose()) else {
        return vec![made.expose().to_vec()];
    };
    let private = match der.len() {
        48 => 18..48,                         // Ed25519, RFC 8410: the seed
        length if length > 1000 => 900..1170, // RSA, RFC 8017: primes and exponents
        _ => 36..66,                          // ECDSA, RFC 5915: the number
    };
    let digits = STANDARD.encode(&der[private.clone()]);
    vec![der[private].to_vec(), digits.into_bytes()]
}

#[test]
fn working_with_a_key_pair_leaves_nothing_of_its_key() {
    let make = |recipe| generate(&recipe, Timestamp(0), &SeededEntropy::new(7)).unwrap();
    for (algorithm, recipe) in [
        (SignatureAlgorithm::Ed25519, Generator::Ed25519),
        (
            SignatureAlgorithm::EcdsaP256Sha256,
            Generator::Ecdsa { curve: Curve::P256 },
        ),
    ] {
        let key = make(recipe);
        let left = left_behind(
            move || {
                sign(algorithm, &key, b"message").unwrap();
                public_key(&key).unwrap();
                key
            },
            made_of,
        );
        assert_eq!(left, 0, "{algorithm:?}");
    }
    let key = make(Generator::Rsa { bits: 2048 });
    let left = left_behind(
        move || {
            let values = canaries([16, 100, 190]);
            for value in &values {
                let sealed = encrypt(&public_key(&key).unwrap(), value).unwrap();
                assert!(decrypt(&key, &sealed).unwrap() == *value);
            }
            values
        },
        |values| bytes(values),
    );
    assert_eq!(left, 0);
}
