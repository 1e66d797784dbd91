//! `pentad bench crypto`: sealing and opening values by the keyring, beside the bare cipher.
//!
//! The floor is AES-256-GCM of the same library, once over a value of the same size, with a key that
//! is ready. The keyring does more, by design: random salt, data key and nonces from the operating
//! system, a wrapping key by HKDF, two encryptions, the place as associated data, padding to a size
//! class. What that costs is the ratio; it is fixed, so it fades with the size.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use pentad_keys::{Binding, Keyring, RootKey};
use pentad_model::{
    Kind, Secret, Tenant,
    id::{Entropy as _, OsEntropy},
};
use serde::Serialize;

use super::{
    report::{print, rounded},
    scratch::{self, rate},
};
use crate::{failure::Failure, session::Session};

/// Bytes of the values.
const SIZES: [usize; 3] = [256, 4 << 10, 64 << 10];
/// How long each measurement runs.
const SPAN: Duration = Duration::from_millis(400);

/// Measure sealing and opening
///
/// On one thread, values of 256 B, 4 KiB and 64 KiB, beside the bare cipher. The last line is JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad bench crypto
  pentad bench crypto --json")]
pub(super) struct Args {}

/// All figures.
#[derive(Debug, Serialize)]
struct Figures {
    sizes: Vec<Size>,
}

/// Those of one size, a second on one thread.
#[derive(Debug, Serialize)]
struct Size {
    bytes: usize,
    /// Values sealed by the keyring.
    seal_per_second: f64,
    /// Values opened by it.
    open_per_second: f64,
    /// Values encrypted by the bare cipher.
    bare_seal_per_second: f64,
    /// Values decrypted by it.
    bare_open_per_second: f64,
    /// `seal_per_second` / `bare_seal_per_second`.
    seal_ratio: f64,
    /// `open_per_second` / `bare_open_per_second`.
    open_ratio: f64,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        scratch::note_if_busy(session.output);
        let sizes = SIZES.into_iter().map(measure).collect::<Result<_, _>>()?;
        let figures = Figures { sizes };
        print(session.output, &figures.text(), &figures)
    }
}

impl Figures {
    fn text(&self) -> String {
        let lines = self.sizes.iter().map(|size| {
            format!(
                "{:>6} B   seal {:>8.0} a second ({:.1} % of the bare cipher), open {:>8.0} \
                 ({:.1} %)",
                size.bytes,
                size.seal_per_second,
                size.seal_ratio * 100.0,
                size.open_per_second,
                size.open_ratio * 100.0,
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn measure(bytes: usize) -> Result<Size, Failure> {
    let keyring = keyring()?;
    let tenant = Tenant::default_tenant();
    let path = "bench/crypto".parse().map_err(internal)?;
    let binding = Binding {
        tenant: &tenant,
        path: &path,
        version: 1,
        kind: Kind::Secret,
    };
    let value = Secret::new("v".repeat(bytes));
    let sealed = keyring.seal(&binding, &value).map_err(internal)?;
    let seal = repeat(|| keyring.seal(&binding, &value).map(drop).map_err(internal))?;
    let open = repeat(|| keyring.open(&binding, &sealed).map(drop).map_err(internal))?;

    let mut key = [0; 32];
    OsEntropy.fill(&mut key);
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(internal)?;
    let key = LessSafeKey::new(key);
    let mut counter = 0u64;
    let mut nonce = || {
        let mut nonce = [0; NONCE_LEN];
        counter += 1;
        nonce[..8].copy_from_slice(&counter.to_be_bytes());
        nonce
    };
    // The buffer is copied in each round, as whoever keeps the input has to.
    let plain = vec![b'v'; bytes];
    let bare_seal = repeat(|| {
        let nonce = Nonce::assume_unique_for_key(nonce());
        let mut buffer = plain.clone();
        key.seal_in_place_append_tag(nonce, Aad::empty(), &mut buffer)
            .map_err(internal)
    })?;
    let fixed = nonce();
    let mut whole = plain.clone();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(fixed),
        Aad::empty(),
        &mut whole,
    )
    .map_err(internal)?;
    let bare_open = repeat(|| {
        let nonce = Nonce::assume_unique_for_key(fixed);
        let mut buffer = whole.clone();
        key.open_in_place(nonce, Aad::empty(), &mut buffer)
            .map(drop)
            .map_err(internal)
    })?;
    Ok(Size {
        bytes,
        seal_per_second: rounded(seal, 0),
        open_per_second: rounded(open, 0),
        bare_seal_per_second: rounded(bare_seal, 0),
        bare_open_per_second: rounded(bare_open, 0),
        seal_ratio: rounded(seal / bare_seal, 4),
        open_ratio: rounded(open / bare_open, 4),
    })
}

/// A keyring with the default tenant's key.
pub(super) fn keyring() -> Result<Keyring, Failure> {
    let keyring =
        Keyring::new(RootKey::generate(&OsEntropy), Arc::new(OsEntropy)).map_err(internal)?;
    let key = keyring
        .create_tenant_key(&Tenant::default_tenant())
        .map_err(internal)?;
    keyring.load_tenant_key(&key).map_err(internal)?;
    Ok(keyring)
}

/// How often an act succeeds in a second.
fn repeat(mut act: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < SPAN {
        for _ in 0..16 {
            act()?;
        }
        done += 16;
    }
    Ok(rate(done, begin.elapsed()))
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
