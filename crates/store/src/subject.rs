//! What things are called in errors, whatever keeps them: `credential acme/prod/db`.

use std::fmt::Display;

use pentad_model::{Path, Tenant};

use crate::Op;

/// What an operation is about, for errors.
pub(crate) fn subject(op: &Op) -> String {
    match op {
        Op::CreateCredential { credential } | Op::UpdateCredential { credential, .. } => {
            name("credential", &credential.tenant, &credential.path)
        }
        Op::RemoveCredential { tenant, path, .. } => name("credential", tenant, path),
        Op::AddVersion { version } => version_name(&version.tenant, &version.path, version.number),
        Op::SetStage {
            tenant,
            path,
            number,
            ..
        }
        | Op::DestroyVersion {
            tenant,
            path,
            number,
            ..
        } => version_name(tenant, path, *number),
        Op::CreateRotation { rotation } | Op::UpdateRotation { rotation, .. } => {
            name("rotation", &rotation.tenant, rotation.id)
        }
        Op::PutDocument { document, .. } => name(
            document.collection.as_str(),
            &document.tenant,
            &document.name,
        ),
        Op::RemoveDocument {
            collection,
            tenant,
            name: key,
        }
        | Op::CheckDocument {
            collection,
            tenant,
            name: key,
            ..
        } => name(collection.as_str(), tenant, key),
    }
}

/// What a version is called.
pub(crate) fn version_name(tenant: &Tenant, path: &Path, number: u32) -> String {
    format!("version {number} of {tenant}/{path}")
}

/// What a row is called.
pub(crate) fn name(what: &str, tenant: impl Display, key: impl Display) -> String {
    format!("{what} {tenant}/{key}")
}
