//! Plans: what rotating some credentials would do, in which order, and why.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use futures::{StreamExt, TryStreamExt, stream};
use pentad_model::{
    Context, Credential, Name, Path, Target, credential::Binding, rotation::Strategy,
};
use pentad_policy::choose_strategy;
use pentad_rotation::order;
use pentad_store::Collection;

use super::Desk;
use crate::{
    Fault,
    contract::rotation::{Plan, Planned, Refused, Start},
    current::currents,
};

/// The credentials of a plan as they were when it was made.
pub(super) type Seen = BTreeMap<Path, Credential>;

/// Credentials looked up in one go: to change threads takes as long as to look up some dozens.
const AT_ONCE: usize = 256;

/// Goes at a time: the store's readers are busy while what they found is planned.
const GOES: usize = 8;

/// Plans the rotation of all that can be rotated; names the rest with the reason. O(n log n), two
/// look-ups a credential, and one a target.
pub(super) async fn plan(
    desk: &Desk,
    context: &Context,
    ask: &Start,
) -> Result<(Plan, Seen), Fault> {
    let mut refused = Vec::new();
    let mut planned: BTreeMap<Path, Planned> = BTreeMap::new();
    let mut seen = Seen::new();
    // What lies side by side is read in one go, from the same pages.
    let mut paths = ask.paths.clone();
    paths.sort_unstable();
    paths.dedup();
    let goes = paths.chunks(AT_ONCE);
    let goes: Vec<_> = goes.map(|paths| look_up(desk, context, paths)).collect();
    let mut goes = stream::iter(goes).buffered(GOES);
    let mut asked = paths.iter();
    let mut targets = HashMap::new();
    while let Some(found) = goes.try_next().await? {
        for (found, path) in found.into_iter().zip(&mut asked) {
            let one = match found {
                Some(found) => one(desk, context, found, ask.strategy, &mut targets).await?,
                None => Err("it does not exist".to_owned()),
            };
            match one {
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

/// What is to be rotated: the credential, the number and account of its current version, and where
/// its values go.
struct Found {
    credential: Credential,
    current: Option<(u32, Option<String>)>,
    binding: Result<Option<Binding>, Fault>,
}

async fn look_up(
    desk: &Desk,
    context: &Context,
    paths: &[Path],
) -> Result<Vec<Option<Found>>, Fault> {
    let found = currents(&*desk.reader, &context.tenant, paths).await?;
    let living: Vec<&Credential> = found.iter().flatten().map(|(it, _)| it).collect();
    let mut bindings = desk.documents.bindings(context, &living).await?.into_iter();
    let found = found.into_iter().map(|found| {
        let (credential, current) = found?;
        Some(Found {
            credential,
            current: current.map(|version| (version.number, version.account)),
            binding: bindings.next()?,
        })
    });
    Ok(found.collect())
}

/// Targets by name, each looked up once; or why one is not to be believed.
type Targets = HashMap<Name, Result<Option<Target>, String>>;

async fn one(
    desk: &Desk,
    context: &Context,
    found: Found,
    asked: Option<Strategy>,
    targets: &mut Targets,
) -> Result<Result<(Planned, Credential), String>, Fault> {
    let Found {
        credential,
        current,
        binding,
    } = found;
    let path = &credential.path;
    let binding = match binding {
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
    let Some((number, account)) = current else {
        return Ok(Err(
            "it has no value yet; put or adopt the one that works now".to_owned(),
        ));
    };
    let target = match targets.entry(binding.target.clone()) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(target(desk, context, &binding).await?),
    };
    let target = match target {
        Ok(Some(target)) => target,
        Ok(None) => {
            return Ok(Err(format!(
                "its target `{}` does not exist",
                binding.target
            )));
        }
        Err(reason) => return Ok(Err(reason.clone())),
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
    let from_account = account.unwrap_or_else(|| binding.account.clone());
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
        from: (number, from_account),
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
