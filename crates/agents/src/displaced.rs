//! Values that a put displaced before anybody had shown the new one to work at its target.
//!
//! A put says nothing to a target. What it displaces there may be the one value that works, so it is
//! kept as *previous*, and a rotation that finds the current one refused tries it, until an adoption
//! or a rotation has proven another. Of several puts in a row, the value from before the first and
//! those displaced last are kept, [`MAX_DISPLACED`] in all: each one tried is a failed login more.

use pentad_model::{Path, Stage, Tenant, Version};
use pentad_store::{Reader, StoreError};

/// Displaced versions kept, and tried by a probe.
pub(crate) const MAX_DISPLACED: usize = 3;

/// Versions looked through for those displaced last.
pub(crate) const LOOKED_THROUGH: usize = 50;

/// What is kept beside this version: the one from before a row of puts first, to which all of them
/// point ([`Version::derived_from`]) however long the row is; then those displaced last.
pub(crate) async fn displaced(
    reader: &dyn Reader,
    tenant: &Tenant,
    path: &Path,
    beside: &Version,
) -> Result<Vec<Version>, StoreError> {
    let latest = reader.versions(tenant, path, None, LOOKED_THROUGH).await?;
    displaced_among(reader, &latest.items, beside).await
}

/// As [`displaced`], by whoever has read the latest [`LOOKED_THROUGH`] versions already.
pub(crate) async fn displaced_among(
    reader: &dyn Reader,
    latest: &[Version],
    beside: &Version,
) -> Result<Vec<Version>, StoreError> {
    let kept = |version: &&Version| version.stage == Stage::Previous && version.sealed.is_some();
    let mut all = Vec::new();
    if let Some(number) = beside.derived_from {
        let first = match latest.iter().find(|version| version.number == number) {
            Some(first) => Some(first.clone()),
            None => {
                let (tenant, path) = (&beside.tenant, &beside.path);
                reader.version(tenant, path, number).await?
            }
        };
        all.extend(first.filter(|first| kept(&first)));
    }
    for version in latest.iter().filter(kept) {
        let known = all.iter().any(|it: &Version| it.number == version.number);
        if !known && version.number != beside.number {
            all.push(version.clone());
        }
    }
    Ok(all)
}
