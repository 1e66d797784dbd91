//! Listing credentials: what somebody may see, a page at a time.
//!
//! A page costs what it holds. The caller's roles lead the listing from one path that they allow to the
//! next; what lies between is jumped over in the index. Where that is not enough (a pattern that
//! begins with `*`, filters that hardly anything passes), a page ends after a bounded number of looks:
//! it is short then, or empty, and says where to go on.
//!
//! What always holds: following `next` to its end shows everything that was there all along and that
//! the caller may see, once; and nothing else, not even in `next`. Where a page ended at a path that
//! the caller may not know, it is sealed.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use pentad_model::{Credential, Path, Sealed, Verb};
use pentad_policy::access;
use pentad_store::{
    CredentialQuery,
    guide::{Guide, Led, Seek},
    read::MAX_PAGE,
};

use super::{Caller, Pentad};
use crate::{
    Fault,
    contract::encryption::{OpenCursor, SealCursor},
};

/// Paths that one page looks at, and for each of its items so many more: a few milliseconds.
const LOOKS: usize = 1000;
/// See above.
const LOOKS_AN_ITEM: usize = 10;
/// How a sealed place begins. No path holds it.
const SEALED: char = '~';

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed<T> {
    /// What it holds; perhaps nothing, with more to come.
    pub items: Vec<T>,
    /// Where to go on, for [`Pentad::place`]; `None` at the end.
    pub next: Option<String>,
}

impl Pentad {
    /// A page of what the caller may see.
    pub async fn list(
        &self,
        caller: &Caller,
        query: CredentialQuery,
    ) -> Result<Listed<Credential>, Fault> {
        self.visible(caller, Verb::List, query).await
    }

    /// The path after which a page begins, from the `next` of the page before it.
    ///
    /// # Errors
    /// [`Fault::Invalid`] if it is neither a path nor what this tenant's listings gave out.
    pub async fn place(&self, caller: &Caller, next: &str) -> Result<Path, Fault> {
        let Some(text) = next.strip_prefix(SEALED) else {
            return next
                .parse()
                .map_err(|error: pentad_model::name::InvalidName| {
                    Fault::invalid(error.to_string())
                });
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| Fault::invalid("this is not where a page ended: begin again"))?;
        let ask = OpenCursor {
            sealed: Sealed::from_bytes(bytes),
        };
        self.0
            .encryption
            .open_cursor(&caller.context, caller.priority, ask)
            .await
    }

    /// A page of the credentials on which the caller may do this.
    pub(super) async fn visible(
        &self,
        caller: &Caller,
        verb: Verb,
        mut query: CredentialQuery,
    ) -> Result<Listed<Credential>, Fault> {
        query.tenant = caller.context.tenant.clone();
        query.limit = query.limit.clamp(1, MAX_PAGE);
        let guide = Arc::new(Allowed(access::Guide::new(&caller.rights.access, verb)));
        let looks = LOOKS + LOOKS_AN_ITEM * query.limit;
        let Led { items, next } = self.0.reader.guided(&query, guide, looks).await?;
        let next = match next {
            None => None,
            Some(next) if caller.rights.access.allows(verb, &next) => Some(next.to_string()),
            Some(hidden) => Some(self.sealed_place(caller, hidden).await?),
        };
        Ok(Listed { items, next })
    }

    async fn sealed_place(&self, caller: &Caller, path: Path) -> Result<String, Fault> {
        let sealed = self
            .0
            .encryption
            .seal_cursor(&caller.context, caller.priority, SealCursor { path })
            .await?;
        Ok(format!(
            "{SEALED}{}",
            URL_SAFE_NO_PAD.encode(sealed.as_bytes())
        ))
    }
}

impl<T> Listed<T> {
    /// The same page of something else.
    pub(super) fn map<U>(self, each: impl FnMut(T) -> U) -> Listed<U> {
        Listed {
            items: self.items.into_iter().map(each).collect(),
            next: self.next,
        }
    }
}

/// A caller's rights, as the store asks for them.
struct Allowed(access::Guide);

impl Guide for Allowed {
    fn at(&self, path: &str) -> Seek {
        match self.0.at(path) {
            access::Seek::Here => Seek::Here,
            access::Seek::From(next) => Seek::From(next),
            access::Seek::End => Seek::End,
        }
    }
}
