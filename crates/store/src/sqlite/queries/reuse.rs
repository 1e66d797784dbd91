//! Where a value is besides, by its fingerprint.

use std::ops::Range;

use pentad_model::{Path, Stage, Tenant, secret::Fingerprint};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    super::{errors::Failure, rows::statement},
    Answer,
};
use crate::{Reuse, subject::name};

/// Counting credentials with the same value stops here.
const MAX_SHARED: u32 = 1000;
/// Or when so many were looked at that have it or had it: nobody holds a reader up with a value that
/// many had once.
const LOOKED_AT: u32 = 2 * MAX_SHARED;

/// Both by the index of fingerprints. Nearly always one look into it finds nothing at all; only where it
/// does, versions are read: those of this path that count, and the current one of each other.
pub(in crate::sqlite) fn reuse(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
    fingerprint: &Fingerprint,
    earlier: &Range<u32>,
) -> Answer<Reuse> {
    let is_known = || -> Result<bool, Failure> {
        let mut select = statement(
            c,
            "SELECT EXISTS (SELECT 1 FROM versions INDEXED BY versions_by_value
                            WHERE tenant = ?1 AND fingerprint = ?2)",
        )?;
        let key = params![tenant.as_str(), fingerprint.0];
        Ok(select.query_row(key, |row| row.get(0))?)
    };
    let find = || -> Result<Vec<u32>, Failure> {
        let mut select = statement(
            c,
            "SELECT number FROM versions INDEXED BY versions_by_value
             WHERE tenant = ?1 AND fingerprint = ?2 AND path = ?3 AND number >= ?4 AND number < ?5
               AND stage <> ?6
             ORDER BY number DESC",
        )?;
        let (from, to) = (earlier.start, earlier.end);
        let pending = Stage::Pending.as_str();
        let key = params![
            tenant.as_str(),
            fingerprint.0,
            path.as_str(),
            from,
            to,
            pending
        ];
        let numbers = select.query_map(key, |row| row.get(0))?;
        Ok(numbers.collect::<rusqlite::Result<_>>()?)
    };
    let about = |failure: Failure| failure.about(c, || name("fingerprints of", tenant, path));
    if !is_known().map_err(about)? {
        return Ok(Reuse::default());
    }
    Ok(Reuse {
        earlier: find().map_err(about)?,
        shared_with: shared_with(c, tenant, path, fingerprint)?,
    })
}

/// From path to path: of each that ever had the value one seek, and whether its current one is this.
/// O(log n) for each of them.
pub(in crate::sqlite) fn shared_with(
    c: &Connection,
    tenant: &Tenant,
    path: &Path,
    fingerprint: &Fingerprint,
) -> Answer<u32> {
    let count = || -> Result<u32, Failure> {
        let mut next = statement(
            c,
            "SELECT path FROM versions INDEXED BY versions_by_value
             WHERE tenant = ?1 AND fingerprint = ?2 AND path > ?3
             ORDER BY path LIMIT 1",
        )?;
        let mut has_it_now = statement(
            c,
            "SELECT 1 FROM credentials c
             JOIN versions v INDEXED BY versions_by_value
               ON v.tenant = c.tenant AND v.path = c.path AND v.number = c.current
             WHERE c.tenant = ?1 AND c.path = ?3 AND c.deleted = 0 AND v.fingerprint = ?2
               AND v.stage = 'current'",
        )?;
        debug_assert_eq!(Stage::Current.as_str(), "current");
        let (mut shared, mut at) = (0, String::new());
        for _ in 0..LOOKED_AT {
            let key = params![tenant.as_str(), fingerprint.0, at];
            let Some(found) = next.query_row(key, |row| row.get(0)).optional()? else {
                break;
            };
            at = found;
            let key = params![tenant.as_str(), fingerprint.0, at];
            shared += u32::from(at != path.as_str() && has_it_now.exists(key)?);
            if shared == MAX_SHARED {
                break;
            }
        }
        Ok(shared)
    };
    count().map_err(|failure| failure.about(c, || name("fingerprints of", tenant, path)))
}
