//! Tokens: made once, shown once, stored as their SHA-256.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use pentad_keys::digest;
use pentad_model::{
    Id, Name, Secret, Tenant, Timestamp, Verb,
    access::{Effect, Token, User},
    record::Outcome,
};
use pentad_store::{Collection, Expect, Op, Page};

use super::{Caller, Pentad, documents::encode, roles::verbs};
use crate::{Fault, documents::decode};

/// What every token begins with, so that scanners know one when it leaks.
const TOKEN_PREFIX: &str = "pntd_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// A token that was just made; the only moment at which it is known.
#[derive(Debug)]
pub struct TokenIssued {
    /// What is stored of it.
    pub token: Token,
    /// The token itself.
    pub secret: Secret,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// A name for people.
    pub name: Name,
    /// Its roles.
    pub roles: Vec<Name>,
    /// How long it is good for.
    pub ttl: Option<Duration>,
}

impl Pentad {
    /// Makes a token. Its roles allow nothing that the caller may not do everywhere.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<TokenIssued, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let roles = self.known_roles(&caller.context, &new.roles).await?;
        self.may_grant(caller, &verbs(&roles, Effect::Allow))
            .await?;
        let until = new.ttl.map(|ttl| self.0.clock.now().plus(ttl));
        let (token, secret) = self.mint(&new.name, None, new.roles, until);
        let record = self
            .record(caller, "token.create", Outcome::Done)
            .detail(format!("{} {}", token.id, token.name));
        let op = put_token(&caller.context.tenant, &token, &secret)?;
        self.commit(caller, vec![op], record).await?;
        Ok(TokenIssued { token, secret })
    }

    /// Tokens, a page at a time; never the tokens themselves.
    pub async fn tokens(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Token>, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        self.objects(caller, Collection::Token, after, limit).await
    }

    /// Revokes the token with this id, at once. Rows that bear the id but were not written by Pentad
    /// are removed, wherever they are: so all are looked at.
    pub async fn revoke_token(&self, caller: &Caller, id: Id) -> Result<Token, Fault> {
        self.permit_system(caller, Verb::Admin).await?;
        let (mut revoked, mut removed) = (None, None);
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
                let Ok(shown) = decode::<Token>(document) else {
                    continue;
                };
                if shown.id != id {
                    continue;
                }
                match self.revoke(caller, &name).await {
                    Err(Fault::Damaged { .. }) => {
                        self.remove(caller, Collection::Token, &name, "token.remove")
                            .await?;
                        removed = Some(shown);
                    }
                    done => revoked = Some(done?),
                }
            }
            if !page.more {
                let found = revoked.or(removed);
                return found.ok_or_else(|| Fault::missing(format!("token {id}")));
            }
        }
    }

    async fn revoke(&self, caller: &Caller, name: &str) -> Result<Token, Fault> {
        let found: Option<(Token, u64)> = self
            .0
            .documents
            .find(&caller.context, Collection::Token, name)
            .await?;
        let (mut token, revision) = found.ok_or_else(|| Fault::missing("the token"))?;
        token.revoked_at = Some(self.0.clock.now());
        let record = self
            .record(caller, "token.revoke", Outcome::Done)
            .detail(format!("{} {}", token.id, token.name));
        let tenant = &caller.context.tenant;
        let op = Op::PutDocument {
            document: encode(Collection::Token, tenant, name, &token, token.expires_at)?,
            expect: Expect::Revision(revision),
        };
        self.commit(caller, vec![op], record).await?;
        Ok(token)
    }

    pub(super) fn mint(
        &self,
        name: &Name,
        user: Option<&User>,
        roles: Vec<Name>,
        expires_at: Option<Timestamp>,
    ) -> (Token, Secret) {
        let mut random = zeroize::Zeroizing::new([0u8; TOKEN_BYTES]);
        self.0.entropy.fill(&mut *random);
        let mut text = String::with_capacity(TOKEN_PREFIX.len() + TOKEN_BYTES * 2);
        text.push_str(TOKEN_PREFIX);
        URL_SAFE_NO_PAD.encode_string(*random, &mut text);
        let token = Token {
            id: self.id(),
            name: name.clone(),
            user: user.map(|user| user.name.clone()),
            password: user.map(password_mark),
            roles,
            created_at: self.0.clock.now(),
            expires_at,
            revoked_at: None,
        };
        (token, Secret::new(text))
    }
}

/// Tokens are stored and looked up under their SHA-256: 256 random bits need no salt and no slow
/// hash, and nothing is compared that timing could tell of.
pub(super) fn token_name(token: &Secret) -> String {
    hex::encode(digest::sha256(token))
}

/// What a login remembers of the password that it was made with. Each hash has a salt of its own, so
/// another password, or the same one given anew, has another mark.
pub(super) fn password_mark(user: &User) -> String {
    hex::encode(digest::sha256(&Secret::new(user.password_hash.as_bytes())))
}

pub(super) fn put_token(tenant: &Tenant, token: &Token, secret: &Secret) -> Result<Op, Fault> {
    let name = token_name(secret);
    let document = encode(Collection::Token, tenant, &name, token, token.expires_at)?;
    Ok(Op::PutDocument {
        document,
        expect: Expect::Absent,
    })
}
