//! Erasing a person: what the store says of them, as far as it can be taken back.
//!
//! Personal are: the owner that credentials name, the user and the user's logins. These go. What
//! stays, and why, is told with each erasure: audit records are leaves of a tree that proves that
//! nothing was changed, so they can't be; versions and rotations say who made them, in the text form
//! that records have. Free texts are not searched, but of the person's own credentials those are
//! named whose texts mention them.

use futures::{StreamExt, stream};
use pentad_model::{Credential, Name, Path, Verb, access::Token, record::Outcome};
use pentad_store::{Collection, Op};

use super::{Caller, Pentad};
use crate::{Fault, documents::decode};

/// Credentials that one request frees from their owner; more take another one.
const MOST: usize = 1000;
/// Changes under way at once.
const AT_ONCE: usize = 16;
/// Credentials that are named at most because their texts mention the person.
const MENTIONS: usize = 100;

/// Whom to erase.
#[derive(Clone, Debug, Default)]
pub struct Person {
    /// As credentials name them as their owner: the whole text.
    pub owner: Option<String>,
    /// As a user.
    pub user: Option<Name>,
}

/// What an erasure did.
#[derive(Clone, Debug, Default)]
pub struct Erased {
    /// Credentials that named the person as their owner, and name nobody now.
    pub credentials: usize,
    /// Whether there are more: ask again.
    pub more: bool,
    /// Of these, some whose description or tags mention the person: for somebody to look at.
    pub mentions: Vec<Path>,
    /// Whether there was such a user.
    pub user: bool,
    /// Logins of the user that were removed.
    pub logins: usize,
}

impl Pentad {
    /// Erases a person, as far as that can be. Idempotent: ask again until there is no more.
    pub async fn erase(&self, caller: &Caller, person: Person) -> Result<Erased, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        if person.owner.is_none() && person.user.is_none() {
            return Err(Fault::invalid("name an owner, a user, or both"));
        }
        let mut erased = Erased::default();
        if let Some(owner) = person.owner.as_deref().filter(|owner| !owner.is_empty()) {
            // It changes credentials, wherever they are.
            self.permit_everywhere(caller, Verb::Write, "credential.write")
                .await?;
            self.erase_owner(caller, owner, &mut erased).await?;
        }
        if let Some(user) = &person.user {
            self.erase_user(caller, user, &mut erased).await?;
        }
        Ok(erased)
    }

    async fn erase_owner(
        &self,
        caller: &Caller,
        owner: &str,
        erased: &mut Erased,
    ) -> Result<(), Fault> {
        let tenant = &caller.context.tenant;
        let page = self
            .0
            .reader
            .owned_credentials(tenant, owner, None, MOST)
            .await?;
        erased.more = page.more;
        let needle = owner.to_lowercase();
        for credential in &page.items {
            if erased.mentions.len() < MENTIONS && mentions(credential, &needle) {
                erased.mentions.push(credential.path.clone());
            }
        }
        let done: Vec<Result<(), Fault>> = stream::iter(page.items)
            .map(|credential| self.free(caller, credential))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for one in done {
            match one {
                Ok(()) => erased.credentials += 1,
                // Somebody changed it meanwhile: it is found again.
                Err(Fault::Conflict { .. } | Fault::Missing { .. }) => erased.more = true,
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Takes the owner's name from a credential. The record does not say it: it would be there for
    /// good.
    async fn free(&self, caller: &Caller, seen: Credential) -> Result<(), Fault> {
        let expect = seen.revision;
        let credential = Credential {
            owner: None,
            revision: expect + 1,
            updated_at: self.0.clock.now(),
            ..seen
        };
        let record = self
            .record(caller, "credential.write", Outcome::Done)
            .on(&credential.path, None)
            .detail("owner erased");
        let op = Op::UpdateCredential { credential, expect };
        self.commit(caller, vec![op], record).await
    }

    async fn erase_user(
        &self,
        caller: &Caller,
        user: &Name,
        erased: &mut Erased,
    ) -> Result<(), Fault> {
        match self.remove_user(caller, user).await {
            Ok(()) => erased.user = true,
            Err(Fault::Missing { .. }) => {}
            Err(fault) => return Err(fault),
        }
        // Logins are found by their own key only, so all tokens are looked at.
        let mut after: Option<String> = None;
        loop {
            let (page, _) = self
                .0
                .documents
                .page(&caller.context, Collection::Token, after.as_deref(), 500)
                .await?;
            after = page.items.last().map(|last| last.name.clone());
            for document in page.items {
                let name = document.name.clone();
                let theirs =
                    decode::<Token>(document).is_ok_and(|token| token.user.as_ref() == Some(user));
                if !theirs {
                    continue;
                }
                match self
                    .remove(caller, Collection::Token, &name, "token.remove")
                    .await
                {
                    Ok(()) => erased.logins += 1,
                    Err(Fault::Missing { .. }) => {}
                    Err(fault) => return Err(fault),
                }
            }
            if !page.more {
                return Ok(());
            }
        }
    }
}

fn mentions(credential: &Credential, needle: &str) -> bool {
    let texts = credential.tags.iter().flat_map(|(key, value)| [key, value]);
    std::iter::once(&credential.description)
        .chain(texts)
        .any(|text| text.to_lowercase().contains(needle))
}
