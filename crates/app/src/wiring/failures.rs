//! What the parts below say, as a command fails with it.

use std::fs;

use pentad_keys::root::file::KeyFileError;
use pentad_store::{StoreError, audit::AuditError};

use super::place::Place;
use crate::failure::{Exit, Failure};

pub(super) fn store_failure(place: &Place, error: StoreError) -> Failure {
    let hint = match &error {
        StoreError::Locked { .. } => Some(match fs::read_to_string(place.address()) {
            Ok(address) => format!(
                "talk to the running server: export PENTAD_ADDR={}, and `pentad login` or PENTAD_TOKEN",
                address.trim()
            ),
            Err(_) => "stop the other process, or wait until it is done".to_owned(),
        }),
        StoreError::Absent { .. } => Some(format!(
            "make one with `pentad init --dir {}`, or name another with --dir, or a server with \
             PENTAD_ADDR",
            place.dir.display()
        )),
        StoreError::TooNew { .. } => {
            Some("install the newer pentad; this one changed nothing".to_owned())
        }
        StoreError::Corrupt { .. } => Some("restore the store from its backup".to_owned()),
        StoreError::Full => Some(format!(
            "free space on the volume of {}",
            place.dir.display()
        )),
        StoreError::Unavailable { .. } if place.database.is_some() => {
            Some("start the database, or mend its address (--store, PENTAD_STORE, or [store] in the configuration)".to_owned())
        }
        _ => None,
    };
    let message = match &error {
        StoreError::Locked { path, pid } => {
            format!(
                "another process ({pid}) has the store in {} open",
                path.display()
            )
        }
        StoreError::Absent { path } => format!("there is no pentad store in {}", path.display()),
        other => other.to_string(),
    };
    let exit = match &error {
        StoreError::Absent { .. } => Exit::Missing,
        StoreError::Corrupt { .. } => Exit::Damaged,
        StoreError::Exists { .. } | StoreError::Conflict { .. } => Exit::Conflict,
        _ => Exit::Unavailable,
    };
    Failure {
        hint,
        ..Failure::new(exit, message)
    }
}

pub(super) fn audit_failure(place: &Place, error: AuditError) -> Failure {
    let dir = place.dir.display();
    match &error {
        AuditError::Damaged {
            file,
            offset,
            reason,
        } => Failure::new(
            Exit::Damaged,
            format!(
                "the audit log is damaged: {} at byte {offset}: {reason}",
                file.display()
            ),
        )
        .hint(format!(
            "`pentad --dir {dir} audit verify` lists all damage, `audit repair` moves it aside"
        )),
        AuditError::BelowHighWater {
            size, high_water, ..
        } => Failure::new(
            Exit::Damaged,
            format!("the audit log has {size} records, {high_water} were durable: some are gone"),
        )
        .hint("restore its directory; `pentad audit repair` accepts the loss, on record"),
        AuditError::Full => Failure::unavailable("the disk is full: nothing was changed")
            .hint(format!("free space on the volume of {dir}")),
        AuditError::Locked { .. } => Failure::unavailable(error.to_string()),
        _ => Failure::new(Exit::Damaged, error.to_string()),
    }
}

pub(super) fn key_failure(error: KeyFileError) -> Failure {
    let exit = match &error {
        KeyFileError::Missing { .. } => Exit::Missing,
        KeyFileError::Exists { .. } => Exit::Conflict,
        KeyFileError::Damaged { .. } | KeyFileError::NotAKeyFile { .. } => Exit::Damaged,
        KeyFileError::UnknownVersion { .. } => Exit::Unavailable,
        _ => Exit::Denied,
    };
    // The messages end in the next step: it becomes the hint.
    let text = error.to_string();
    match text.split_once("; ") {
        Some((message, hint)) => Failure::new(exit, message).hint(hint),
        None => Failure::new(exit, text),
    }
}

pub(super) fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::internal(error.to_string())
}
