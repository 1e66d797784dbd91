//! After a start: everything that was acknowledged is there, and is on record.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::ledger::{Ledger, State, Thing};
use crate::api::{Api, text};

/// Questions at once.
const AT_ONCE: usize = 8;

/// Looks at every thing in the ledger: how many, and what is wrong.
pub async fn things(api: &Api, ledger: &Ledger) -> Result<(usize, Vec<String>)> {
    let tokens = listed(api, "/v1/tokens", |item| {
        item["revoked_at"]
            .is_null()
            .then(|| (text(item, "id").to_owned(), "good".to_owned()))
    })
    .await?;
    let policies = listed(api, "/v1/policies", |item| {
        Some((
            text(item, "name").to_owned(),
            text(item, "description").to_owned(),
        ))
    })
    .await?;
    let tenants = listed(api, "/v1/tenants", |item| {
        Some((item.as_str()?.to_owned(), "there".to_owned()))
    })
    .await?;
    let things = ledger.things();
    let many = things.len();
    let found: Vec<Result<(Thing, State)>> = stream::iter(things)
        .map(|thing| async {
            let state = match &thing {
                Thing::Value(path) => answer(api, &format!("/v1/values/{path}"), "value").await?,
                Thing::PublicKey(path) => {
                    let url = format!("/v1/crypto/public-key/{path}");
                    answer(api, &url, "public_key").await?
                }
                Thing::Token(id) => tokens.get(id).cloned(),
                Thing::Policy(name) => policies.get(name).cloned(),
                Thing::Tenant(name) => tenants.get(name).cloned(),
            };
            Ok((thing, state))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut wrong = Vec::new();
    for found in found {
        let (thing, state) = found?;
        wrong.extend(ledger.look(&thing, &state).err());
        // One that is listed must open the door as well.
        if let (Thing::Token(id), Some(_)) = (&thing, &state)
            && let Some(token) = ledger.token(id)
            && !api.with_token(&token).get("/v1/whoami").await?.ok()
        {
            wrong.push(format!("token {id} is listed as good and refused"));
        }
    }
    Ok((many, wrong))
}

/// What a read answers: 404 is an answer too.
async fn answer(api: &Api, url: &str, field: &str) -> Result<State> {
    let answer = api.get(url).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    let body = answer.body().with_context(|| url.to_owned())?;
    Ok(Some(text(&body, field).to_owned()))
}

async fn listed(
    api: &Api,
    url: &str,
    each: impl Fn(&Value) -> Option<(String, String)>,
) -> Result<BTreeMap<String, String>> {
    let items = api.all(url, "after").await.context(url.to_owned())?;
    Ok(items.iter().filter_map(each).collect())
}

/// Looks for the records of everything acknowledged, from position `from` on: where the next look
/// begins, and what is wrong.
pub async fn records(api: &Api, ledger: &Ledger, from: u64) -> Result<(u64, Vec<String>)> {
    let mut correlations = BTreeSet::new();
    let (mut next, mut before) = (from, None::<u64>);
    loop {
        let cursor = before.map(|at| format!("&before={at}")).unwrap_or_default();
        let page = api
            .get(&format!("/v1/audit/records?limit=1000{cursor}"))
            .await?
            .body()?;
        let items = page["items"].as_array().context("a listing has items")?;
        let mut oldest = u64::MAX;
        for item in items {
            let index = item["index"].as_u64().context("a record has an index")?;
            next = next.max(index + 1);
            oldest = oldest.min(index);
            correlations.insert(text(item, "correlation").to_owned());
        }
        let cursor = page["next"].as_str().and_then(|at| at.parse().ok());
        match cursor.or(page["next"].as_u64()) {
            Some(at) if oldest > from => before = Some(at),
            _ => break,
        }
    }
    let missing = ledger.recorded(&correlations);
    let wrong = missing
        .into_iter()
        .map(|id| format!("request {id} was answered, and its record is not in the log"))
        .collect();
    Ok((next, wrong))
}
