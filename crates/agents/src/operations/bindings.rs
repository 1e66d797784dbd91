//! Bindings: where a credential's values go, and who decides that.
//!
//! A binding stands in its credential, and once more in a document of its own that carries a seal.
//! What is used is what both say; whatever else the credential says was written by somebody else.

use pentad_model::{Credential, Path, Verb, credential::Binding};
use pentad_store::{Collection, Expect, Op};

use super::{Caller, Pentad, documents::encode};
use crate::Fault;

/// How a credential is bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// As was asked.
    So,
    /// Otherwise, or not at all.
    Otherwise,
    /// By somebody without the key. Nothing is sent anywhere by it: whoever may, puts it right, also
    /// while a rotation waits for that.
    ByOthers,
}

impl Pentad {
    /// A binding hands values to others: only who may read them decides about it. And where Pentad
    /// would change an account whose present value nobody has shown (an owned one, or the second of
    /// two that take turns), only who manages targets: else a right to write and rotate anywhere were
    /// a way to every account of every target.
    pub(super) async fn permit_binding(
        &self,
        caller: &Caller,
        path: &Path,
        binding: Option<&Binding>,
    ) -> Result<(), Fault> {
        self.permit(caller, Verb::Read, path).await?;
        if binding.is_some_and(|binding| binding.owned || binding.alternate.is_some()) {
            self.permit_system(caller, Verb::Target).await?;
        }
        Ok(())
    }

    /// How this binding compares with that of the stored credential.
    pub(super) async fn is_bound(
        &self,
        caller: &Caller,
        stored: Option<&Credential>,
        binding: &Binding,
    ) -> Result<Bound, Fault> {
        let Some(stored) = stored else {
            return Ok(Bound::Otherwise);
        };
        match self.bound(caller, stored).await {
            Ok(Some(bound)) if bound == *binding => Ok(Bound::So),
            Ok(_) => Ok(Bound::Otherwise),
            Err(Fault::Damaged { .. }) => Ok(Bound::ByOthers),
            Err(fault) => Err(fault),
        }
    }

    /// The document that a credential's binding is held against, over the one that is there.
    pub(super) async fn put_binding(
        &self,
        caller: &Caller,
        path: &Path,
        binding: &Binding,
    ) -> Result<Op, Fault> {
        let (tenant, now) = (&caller.context.tenant, self.0.clock.now());
        let stored = self
            .0
            .reader
            .document(Collection::Binding, tenant, path.as_str(), now)
            .await?;
        Ok(Op::PutDocument {
            document: encode(Collection::Binding, tenant, path.as_str(), binding, None)?,
            expect: stored.map_or(Expect::Absent, |stored| Expect::Revision(stored.revision)),
        })
    }

    /// A credential's binding must name a target that exists, accounts that differ, and files that
    /// may be written.
    pub(super) async fn check_binding(
        &self,
        caller: &Caller,
        credential: &Credential,
    ) -> Result<(), Fault> {
        let Some(binding) = &credential.binding else {
            return Ok(());
        };
        if binding.account.is_empty() {
            return Err(Fault::invalid(
                "a binding needs the account's name at the target",
            ));
        }
        if binding.alternate.as_deref() == Some(binding.account.as_str()) {
            return Err(Fault::invalid(
                "the alternate account must differ from the account",
            ));
        }
        for file in &binding.deliver_to {
            self.0.files.admit(file).await?;
        }
        self.target_of(&caller.context, &binding.target)
            .await
            .map(|_| ())
    }

    /// A stored credential's binding.
    pub(super) async fn bound(
        &self,
        caller: &Caller,
        stored: &Credential,
    ) -> Result<Option<Binding>, Fault> {
        self.0.documents.binding(&caller.context, stored).await
    }
}
