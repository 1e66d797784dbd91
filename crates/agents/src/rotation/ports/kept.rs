//! What rotations need again and again, as it was last read: one read serves until something changes
//! it.
//!
//! A drive asks for its credential at every commit, and for the version that it replaces; all drives
//! at a target ask for the target and for its administrating credential. What is kept carries the [stamp](pentad_store::Stamps) that was taken before it was read, so it is as new
//! as the last change that this node answered to anybody, this drive's own included. What another node
//! changed a moment ago may be missed; then the commit that rests on it is refused, which moves the
//! stamp. Over a store that can't tell what changed, every ask is a read.

use std::sync::Arc;

use pentad_model::{Context, Credential, Name, Path, Target, Tenant, Version};
use pentad_rotation::ports::Failure;
use pentad_store::{Collection, Reader, Stamp, StoreError};
use quick_cache::sync::Cache;

use super::{failure, store};
use crate::documents::Documents;

/// Credentials kept: some more than are driven at once at one target.
const KEPT: usize = 256;
/// Targets kept.
const TARGETS: usize = 64;

/// A credential, and its current version where it is a living one that has one. Sealed, as in the
/// store.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) credential: Credential,
    pub(super) current: Option<Version>,
}

/// See the module.
pub(super) struct Kept {
    subjects: Cache<(Tenant, Path), (Arc<Subject>, Stamp)>,
    targets: Cache<(Tenant, Name), (Arc<Target>, Stamp)>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            subjects: Cache::new(KEPT),
            targets: Cache::new(TARGETS),
        }
    }
}

impl Kept {
    /// A target, with its document's revision.
    pub(super) async fn target(
        &self,
        reader: &dyn Reader,
        documents: &Documents,
        context: &Context,
        name: &Name,
    ) -> Result<Arc<Target>, Failure> {
        let key = (context.tenant.clone(), name.clone());
        if let Some(stamps) = reader.stamps()
            && let Some((kept, stamp)) = self.targets.get(&key)
            && stamps.holds(stamp)
        {
            return Ok(kept);
        }
        let stamp = reader
            .stamps()
            .map(|stamps| stamps.of_document(Collection::Target, &key.0, name.as_str()));
        let found = documents.find(context, Collection::Target, name.as_str());
        let found: Option<(Target, u64)> = found.await.map_err(failure)?;
        let (mut target, revision) = found
            .ok_or_else(|| Failure::Refused(format!("target `{name}` does not exist any more")))?;
        target.revision = revision;
        let target = Arc::new(target);
        if let Some(stamp) = stamp {
            self.targets.insert(key, (Arc::clone(&target), stamp));
        }
        Ok(target)
    }

    /// A credential and its current version.
    pub(super) async fn subject(
        &self,
        reader: &dyn Reader,
        tenant: &Tenant,
        path: &Path,
    ) -> Result<Arc<Subject>, Failure> {
        let key = (tenant.clone(), path.clone());
        if let Some(stamps) = reader.stamps()
            && let Some((kept, stamp)) = self.subjects.get(&key)
            && stamps.holds(stamp)
        {
            return Ok(kept);
        }
        let stamp = reader
            .stamps()
            .map(|stamps| stamps.of_credential(tenant, path));
        let mut whole = true;
        let (credential, current) = match reader.current(tenant, path).await {
            Ok(Some(living)) => living,
            // Deleted; or its version is damaged, which stops whoever needs the version.
            seen @ (Ok(None) | Err(StoreError::Corrupt { .. })) => {
                let found = reader.credential(tenant, path).await.map_err(store)?;
                let missing = || Failure::Refused(format!("`{path}` does not exist"));
                whole = seen.is_ok();
                (found.ok_or_else(missing)?, None)
            }
            Err(error) => return Err(store(error)),
        };
        let subject = Arc::new(Subject {
            credential,
            current,
        });
        // What can't be read may be mended, which moves no stamp.
        if let Some(stamp) = stamp.filter(|_| whole) {
            self.subjects.insert(key, (Arc::clone(&subject), stamp));
        }
        Ok(subject)
    }
}
