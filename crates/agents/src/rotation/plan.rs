//! Plans: what rotating some credentials would do, in which order, and why.

use std::collections::BTreeMap;

use pentad_model::{Context, Credential, Path, Target, credential::Binding, rotation::Strategy};
use pentad_policy::choose_strategy;
use pentad_rotation::order;
use pentad_store::Collection;

use super::Desk;
use crate::{
    Fault,
    contract::rotation::{Plan, Planned, Refused, Start},
    current::current,
};

/// The credentials of a plan as they were when it was made.
pub(super) type Seen = BTreeMap<Path, Credential>;

/// Plans the rotation of all that can be rotated; names the rest with the reason. O(n log n) and
/// two look-ups a credential.
pub(super) async fn plan(
    desk: &Desk,
    context: &Context,
    ask: &Start,
) -> Result<(Plan, Seen), Fault> {
    let mut refused = Vec::new();
    let mut planned: BTreeMap<Path, Planned> = BTreeMap::new();
    let mut seen = Seen::new();
    for path in &ask.paths {
        match one(desk, context, path, ask.strategy).await? {
            Ok((one, credential)) => {
                planned.insert(path.clone(), one);
                seen.insert(path.clone(), credential);
            }
            Err(reason) => refused.push(Refused {
                path: path.clone(),
                reason,
            }),
        }
    }
    let members: BTreeMap<Path, Vec<Path>> = seen
        .iter()
        .map(|(path, one)| (path.clone(), one.depends_on.clone()))
        .collect();
    let order = order::groups(&members).map_err(|circle| Fault::invalid(circle.to_string()))?;
    let groups = order
        .into_iter()
        .map(|group| {
            group
                .iter()
                .filter_map(|path| planned.remove(path))
                .collect()
        })
        .collect();
    Ok((Plan { groups, refused }, seen))
}

async fn one(
    desk: &Desk,
    context: &Context,
    path: &Path,
    asked: Option<Strategy>,
) -> Result<Result<(Planned, Credential), String>, Fault> {
    let Some((credential, current)) = current(&*desk.reader, &context.tenant, path).await? else {
        return Ok(Err("it does not exist".to_owned()));
    };
    let binding = match desk.documents.binding(context, &credential).await {
        Ok(Some(binding)) => binding,
        Ok(None) => {
            return Ok(Err(format!(
                "it is bound to no target; `pentad put {path} --metadata --target NAME --account \
                 NAME` binds it"
            )));
        }
        // One that is not to be believed, or was just changed, stops its own credential only.
        Err(Fault::Damaged { message } | Fault::Conflict { message }) => return Ok(Err(message)),
        Err(fault) => return Err(fault),
    };
    let Some(current) = current else {
        return Ok(Err(
            "it has no value yet; put or adopt the one that works now".to_owned(),
        ));
    };
    let target = match target(desk, context, &binding).await? {
        Ok(Some(target)) => target,
        Ok(None) => {
            return Ok(Err(format!(
                "its target `{}` does not exist",
                binding.target
            )));
        }
        Err(reason) => return Ok(Err(reason)),
    };
    let profile = match crate::integration::profile(&target.system) {
        Ok(profile) => profile,
        Err(fault) => return Ok(Err(fault.to_string())),
    };
    let because = match (asked, binding.strategy) {
        (Some(_), _) => "asked for".to_owned(),
        (None, Some(_)) => "by the credential's binding".to_owned(),
        (None, None) => format!("the first that {} and the binding allow", profile.name),
    };
    let wish = Binding {
        strategy: asked.or(binding.strategy),
        ..binding.clone()
    };
    let strategy = match choose_strategy(&wish, profile.strategies) {
        Ok(strategy) => strategy,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let from_account = current
        .account
        .clone()
        .unwrap_or_else(|| binding.account.clone());
    let to_account = match (strategy, &binding.alternate) {
        (Strategy::Alternating, Some(alternate)) if from_account == binding.account => {
            alternate.clone()
        }
        (Strategy::Alternating, _) => binding.account.clone(),
        _ => from_account.clone(),
    };
    if !binding.names(&from_account) {
        return Ok(Err(format!(
            "its value is that of account `{from_account}`, to which it is not bound; `pentad \
             adopt {path}` the value of the account to which it is"
        )));
    }
    let point_of_no_return = match strategy {
        Strategy::InPlace => "when the target confirms the new value".to_owned(),
        Strategy::Overlap | Strategy::Alternating => format!(
            "when the old value is retired, {} s after promotion",
            binding.grace_seconds
        ),
    };
    let planned = Planned {
        path: path.clone(),
        target: binding.target.clone(),
        strategy,
        because,
        from: (current.number, from_account),
        to_account,
        point_of_no_return,
    };
    Ok(Ok((planned, credential)))
}

async fn target(
    desk: &Desk,
    context: &Context,
    binding: &Binding,
) -> Result<Result<Option<Target>, String>, Fault> {
    let name = binding.target.as_str();
    let found = desk.documents.find(context, Collection::Target, name).await;
    match found {
        Ok(found) => Ok(Ok(found.map(|(target, _)| target))),
        // One target that is not to be believed stops its own credentials only.
        Err(Fault::Damaged { message }) => Ok(Err(message)),
        Err(fault) => Err(fault),
    }
}
