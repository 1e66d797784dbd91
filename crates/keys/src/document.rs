//! Seals of documents: a MAC by which a document that somebody else wrote into the store is told
//! from one that Pentad wrote.
//!
//! Documents (users, roles, tokens, targets, policies) are not secret, and are stored in the clear;
//! but they decide who may do what, and where values are sent. A seal is HMAC-SHA-256 under a key of
//! its own, derived from the tenant's, over the parts of [`Document`], each preceded by its length.
//! So a row that was made, altered, renamed or moved without the key, or that carries another row's
//! seal, is noticed.
//!
//! Not noticed: a row that is put back as it once was, seal and all, and one that is taken away. The
//! revision is bound, so an old row comes back as a whole or not at all.

use pentad_model::{Tenant, Timestamp};

use crate::associated::Associated;

/// What a seal speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// Its sort.
    pub collection: &'a str,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// Its name within tenant and collection.
    pub name: &'a str,
    /// Counts its changes.
    pub revision: u64,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Its content, as text.
    pub body: &'a str,
}

impl Document<'_> {
    pub(crate) fn associated(&self) -> Associated {
        let expires_at = self.expires_at.map(|at| at.0.to_be_bytes());
        Associated::with("pentad/document")
            .and(self.collection.as_bytes())
            .and(self.tenant.as_str().as_bytes())
            .and(self.name.as_bytes())
            .and(&self.revision.to_be_bytes())
            .and(expires_at.as_ref().map_or(&[], |at| at.as_slice()))
            .and(self.body.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        Error, Keyring,
        testing::{keyring, tenant},
    };

    fn refused(
        keyring: &Keyring,
        altered: &Document<'_>,
        seal: &pentad_model::secret::Fingerprint,
    ) {
        let checked = keyring.check_document(altered, seal);
        assert_eq!(checked, Err(Error::DocumentForged), "{altered:?}");
    }

    #[test]
    fn a_seal_is_good_for_its_document_alone() {
        let keyring = keyring(1, &["acme", "evil"]);
        let (acme, evil) = (tenant("acme"), tenant("evil"));
        let role = Document {
            collection: "role",
            tenant: &acme,
            name: "ops",
            revision: 3,
            expires_at: None,
            body: r#"{"name":"ops"}"#,
        };
        let seal = keyring.seal_document(&role).unwrap();
        assert_eq!(keyring.check_document(&role, &seal), Ok(()));
        for altered in [
            Document {
                collection: "user",
                ..role
            },
            Document {
                tenant: &evil,
                ..role
            },
            Document {
                name: "dev",
                ..role
            },
            Document {
                revision: 2,
                ..role
            },
            Document {
                expires_at: Some(Timestamp(0)),
                ..role
            },
            Document {
                body: r#"{"name":"dev"}"#,
                ..role
            },
            // The same bytes, cut elsewhere.
            Document {
                collection: "rol",
                name: "eops",
                ..role
            },
        ] {
            refused(&keyring, &altered, &seal);
        }
        let mut flipped = seal;
        flipped.0[31] ^= 1;
        refused(&keyring, &role, &flipped);
        refused(&keyring, &role, &pentad_model::secret::Fingerprint([0; 32]));
    }

    #[test]
    fn a_digest_of_a_value_is_no_seal() {
        let keyring = keyring(1, &["acme"]);
        let acme = tenant("acme");
        let role = Document {
            collection: "role",
            tenant: &acme,
            name: "ops",
            revision: 1,
            expires_at: None,
            body: "{}",
        };
        // Whoever has a value's fingerprint taken chooses the bytes that go in.
        let chosen = pentad_model::Secret::new(role.associated().as_ref());
        refused(
            &keyring,
            &role,
            &keyring.fingerprint(&acme, &chosen).unwrap(),
        );
        refused(&keyring, &role, &keyring.audit_mac(&chosen).unwrap());
    }
}
