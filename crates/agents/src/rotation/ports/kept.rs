//! What is being rotated, as it was last read: one read serves a drive until something changes it.
//!
//! A drive asks for its credential at every commit, and for the version that it replaces. What is
//! kept carries the [stamp](pentad_store::Stamps) that was taken before it was read, so it is as new
//! as the last change that this node answered to anybody, this drive's own included. What another node
//! changed a moment ago may be missed; then the commit that rests on it is refused, which moves the
//! stamp. Over a store that can't tell what changed, every ask is a read.

use std::sync::Arc;

use pentad_model::{Credential, Path, Rotation, Tenant, Version};
use pentad_rotation::ports::Failure;
use pentad_store::{Reader, Stamp};
use quick_cache::sync::Cache;

use super::store;

/// Credentials kept: some more than are driven at once at one target.
const KEPT: usize = 256;

/// A credential, and its current version where it is a living one that has one. Sealed, as in the
/// store.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) credential: Credential,
    pub(super) current: Option<Version>,
}

/// See the module.
pub(super) struct Kept(Cache<(Tenant, Path), (Arc<Subject>, Stamp)>);

impl Default for Kept {
    fn default() -> Self {
        Self(Cache::new(KEPT))
    }
}

impl Kept {
    /// What this rotation is of.
    pub(super) async fn subject(
        &self,
        reader: &dyn Reader,
        rotation: &Rotation,
    ) -> Result<Arc<Subject>, Failure> {
        let (tenant, path) = (&rotation.tenant, &rotation.path);
        let key = (tenant.clone(), path.clone());
        if let Some(stamps) = reader.stamps()
            && let Some((kept, stamp)) = self.0.get(&key)
            && stamps.holds(stamp)
        {
            return Ok(kept);
        }
        let stamp = reader
            .stamps()
            .map(|stamps| stamps.of_credential(tenant, path));
        let (credential, current) = match reader.current(tenant, path).await {
            Ok(Some(living)) => living,
            // Deleted; or its version can't be read, which stops whoever needs the version.
            Ok(None) | Err(_) => {
                let found = reader.credential(tenant, path).await.map_err(store)?;
                let missing = || Failure::Refused(format!("`{path}` does not exist"));
                (found.ok_or_else(missing)?, None)
            }
        };
        let subject = Arc::new(Subject {
            credential,
            current,
        });
        if let Some(stamp) = stamp {
            self.0.insert(key, (Arc::clone(&subject), stamp));
        }
        Ok(subject)
    }
}
