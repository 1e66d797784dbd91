//! The current version of a credential, believed only where its own label says so too.
//!
//! Which version is current stands in the store twice: the credential points to it, and the version
//! is labelled. The label carries a MAC that is checked when the version is opened; the pointer does
//! not. Whoever could move only the pointer would have an old value handed out as the current one.

use pentad_model::{Credential, Path, Stage, Tenant, Version};
use pentad_store::{Op, Reader};

use crate::Fault;

/// Changes nothing but the revision: whoever decided by the credential as it was is refused, and so
/// is this if it was changed meanwhile. What must not happen beside a rotation is tied to its start
/// so.
pub(crate) fn touch(seen: &Credential) -> Op {
    let credential = Credential {
        revision: seen.revision + 1,
        ..seen.clone()
    };
    Op::UpdateCredential {
        credential,
        expect: seen.revision,
    }
}

/// A living credential and its current version.
pub(crate) async fn current(
    reader: &dyn Reader,
    tenant: &Tenant,
    path: &Path,
) -> Result<Option<(Credential, Option<Version>)>, Fault> {
    let found = reader.current(tenant, path).await?;
    believed(
        path,
        found.as_ref().and_then(|(_, version)| version.as_ref()),
    )?;
    Ok(found)
}

/// As [`current`], of many at once, in their order.
pub(crate) async fn currents(
    reader: &dyn Reader,
    tenant: &Tenant,
    paths: &[Path],
) -> Result<Vec<Option<(Credential, Option<Version>)>>, Fault> {
    let found = reader.currents(tenant, paths).await?;
    for (path, found) in paths.iter().zip(&found) {
        believed(
            path,
            found.as_ref().and_then(|(_, version)| version.as_ref()),
        )?;
    }
    Ok(found)
}

/// Refuses what a credential points to as its current version, if that is labelled as another one.
pub(crate) fn believed(path: &Path, version: Option<&Version>) -> Result<(), Fault> {
    match version {
        Some(version) if version.stage != Stage::Current => Err(Fault::Damaged {
            message: format!(
                "`{path}` points to version {} as its current one, which is labelled {}: the store \
                 was changed by somebody else; restore it from a backup",
                version.number, version.stage
            ),
        }),
        _ => Ok(()),
    }
}
