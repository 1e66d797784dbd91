//! The root key: where it comes from, and how the right one is recognised.

use pentad_agents::system::ROOT;
use pentad_keys::{
    RootCheck, RootKey,
    root::{
        file::{self, KeyFileError},
        passphrase::{Kdf, PassphraseError, RootParameters},
    },
};
use pentad_model::{Clock as _, Secret, SystemClock, Tenant, id::OsEntropy};
use pentad_store::{Collection, Reader};
use serde::{Deserialize, Serialize};

use super::{
    failures::{internal, key_failure},
    place::Place,
};
use crate::failure::{Exit, Failure};

/// Where the root key comes from.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source {
    /// A key file.
    File,
    /// A passphrase, stretched.
    Passphrase { parameters: RootParameters },
}

/// The document [`ROOT`].
#[derive(Serialize, Deserialize)]
pub(crate) struct Root {
    pub(super) source: Source,
    check: RootCheck,
    /// The audit log's name in checkpoints: the same wherever the directory is moved.
    pub(super) log: String,
}

impl Root {
    /// Makes the root key of a new store: in a key file, or from a passphrase. `log` names the audit
    /// log.
    pub(super) async fn make(
        place: &Place,
        kdf: Option<Kdf>,
        log: String,
    ) -> Result<(Self, RootKey), Failure> {
        let (source, key) = match kdf {
            None => (Source::File, key_from_new_file(place)?),
            Some(kdf) => {
                let parameters = RootParameters::generate(kdf, &OsEntropy)
                    .map_err(|error| Failure::usage(error.to_string()))?;
                let key = stretch(&parameters, place.passphrase(true)?).await?;
                (Source::Passphrase { parameters }, key)
            }
        };
        let check = key.check().map_err(internal)?;
        Ok((Self { source, check, log }, key))
    }

    /// The key that the store's passphrase gives; whether it is the right one is not looked at.
    pub(super) async fn stretched(&self, place: &Place) -> Result<RootKey, Failure> {
        match &self.source {
            Source::Passphrase { parameters } => {
                stretch(parameters, place.passphrase(false)?).await
            }
            Source::File => file::read(&place.key_file).map_err(key_failure),
        }
    }

    /// The key that this store was made with, and no other.
    pub(super) async fn key(&self, place: &Place) -> Result<RootKey, Failure> {
        let key = self.stretched(place).await?;
        let Err(_) = self.check.verify(&key) else {
            return Ok(key);
        };
        let hint = match self.source {
            Source::File => format!(
                "put the right key file at {} or name it with PENTAD_KEY_FILE; nothing was changed",
                place.key_file.display()
            ),
            Source::Passphrase { .. } => {
                "give the passphrase that the store was made with; nothing was changed".to_owned()
            }
        };
        let message = "wrong root key: this store was made with another one";
        Err(Failure::new(Exit::Denied, message).hint(hint))
    }
}

/// A new key file; one that is there already is used: the store has no other key yet.
fn key_from_new_file(place: &Place) -> Result<RootKey, Failure> {
    match file::adopt(&place.key_file) {
        Ok(root) => Ok(root),
        Err(KeyFileError::Missing { .. }) => {
            file::create(&place.key_file, &RootKey::generate(&OsEntropy), &OsEntropy)
                .map_err(key_failure)?;
            file::read(&place.key_file).map_err(key_failure)
        }
        Err(error) => Err(key_failure(error)),
    }
}

async fn stretch(parameters: &RootParameters, passphrase: Secret) -> Result<RootKey, Failure> {
    let parameters = parameters.clone();
    let derived = tokio::task::spawn_blocking(move || parameters.derive(&passphrase));
    derived.await.map_err(internal)?.map_err(|error| {
        let exit = match error {
            PassphraseError::Length => Exit::Usage,
            PassphraseError::OutOfMemory => Exit::Unavailable,
        };
        Failure::new(exit, error.to_string())
    })
}

pub(super) async fn root_document(store: &dyn Reader) -> Result<Option<Root>, Failure> {
    let tenant = Tenant::default_tenant();
    let found = store
        .document(Collection::Key, &tenant, ROOT, SystemClock.now())
        .await
        .map_err(|error| Failure::from(pentad_agents::Fault::from(error)))?;
    let Some(document) = found else {
        return Ok(None);
    };
    serde_json::from_value(document.body)
        .map(Some)
        .map_err(|error| {
            Failure::new(Exit::Damaged, format!("the store's root document: {error}"))
                .hint("restore the store from its backup")
        })
}
