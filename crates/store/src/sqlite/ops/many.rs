//! The operations of one change, one after the other.
//!
//! Rotations that are begun together are written together: a statement that writes many rows costs
//! half as much for each of them. What always holds: it ends as if each had been carried out in its
//! turn, the error of one that is refused included.

use pentad_model::{Path, Tenant, Timestamp};
use rusqlite::Connection;

use super::{super::rows::Body, apply, rotations};
use crate::{Op, StoreError, subject::subject};

/// Carries out all of them, each with its body, or says which can't be and why; then some may have been.
pub(in crate::sqlite) fn apply_all(
    tx: &Connection,
    ops: &[Op],
    bodies: &[Body],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut begun = Begun {
        tx,
        waiting: Vec::new(),
    };
    let mut changed: Option<(&Tenant, &Path)> = None;
    for (op, body) in ops.iter().zip(bodies) {
        let done = match op {
            Op::CreateRotation { rotation } => {
                let is_there = changed == Some((&rotation.tenant, &rotation.path));
                rotations::may_begin(tx, rotation, is_there)
                    .map(|()| begun.waiting.push((rotation, body)))
            }
            // It neither sees rotations nor makes a credential go away.
            Op::UpdateCredential { credential, .. } => {
                changed = Some((&credential.tenant, &credential.path));
                apply(tx, op, body, now)
            }
            _ => {
                changed = None;
                begun.write()?;
                apply(tx, op, body, now)
            }
        };
        if let Err(failure) = done {
            let error = failure.about(tx, || subject(op));
            // One that came before it may be refused too: then that is the answer.
            if is_refusal(&error) {
                begun.write()?;
            }
            return Err(error);
        }
        if begun.waiting.len() >= rotations::AT_ONCE {
            begun.write()?;
        }
    }
    begun.write()
}

/// Rotations that may begin, and are not written yet.
struct Begun<'a> {
    tx: &'a Connection,
    waiting: Vec<rotations::New<'a>>,
}

impl Begun<'_> {
    fn write(&mut self) -> Result<(), StoreError> {
        let written = rotations::insert_rotations(self.tx, &self.waiting);
        self.waiting.clear();
        written.map_err(|failure| failure.about(self.tx, || "new rotations".to_owned()))
    }
}

/// Whether a precondition did not hold: then the transaction is as it was before.
fn is_refusal(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Missing { .. }
            | StoreError::Exists { .. }
            | StoreError::Conflict { .. }
            | StoreError::Invalid { .. }
    )
}
