//! Where a listing stopped, sealed: the next page begins there, and whoever asks for it may not know
//! that the credential exists.
//!
//! It is sealed as a value is, for a place that no value has: a version 0. So a stored value is not
//! opened as a cursor, and a cursor not as a value.

use pentad_keys::{Binding, Error, Keyring};
use pentad_model::{Kind, Path, Sealed, Secret, Tenant};

use crate::Fault;

/// The number that no version has.
const NO_VERSION: u32 = 0;

pub(super) fn seal(keyring: &Keyring, tenant: &Tenant, path: &Path) -> Result<Sealed, Fault> {
    let place = place()?;
    keyring
        .seal(&binding(tenant, &place), &Secret::new(path.as_str()))
        .map_err(|error| Fault::internal(error.to_string()))
}

pub(super) fn open(keyring: &Keyring, tenant: &Tenant, sealed: &Sealed) -> Result<Path, Fault> {
    let wrong = || Fault::invalid("this is not where a page ended: begin again without `after`");
    let place = place()?;
    let opened = match keyring.open(&binding(tenant, &place), sealed) {
        Ok(opened) => opened,
        Err(Error::Damaged) => return Err(wrong()),
        Err(error) => return Err(Fault::internal(error.to_string())),
    };
    let text = std::str::from_utf8(opened.expose()).map_err(|_| wrong())?;
    text.parse().map_err(|_| wrong())
}

fn place() -> Result<Path, Fault> {
    "cursor"
        .parse()
        .map_err(|error: pentad_model::name::InvalidName| Fault::internal(error.to_string()))
}

fn binding<'a>(tenant: &'a Tenant, path: &'a Path) -> Binding<'a> {
    Binding {
        tenant,
        path,
        version: NO_VERSION,
        kind: Kind::Secret,
    }
}
