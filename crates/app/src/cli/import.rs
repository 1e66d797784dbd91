//! Many values at once, from a file. All of it is read and checked before anything is sent; then a
//! preview says of each what would become of it, without its value; then what is new or changed is
//! stored, in batches. The same file twice changes nothing, so an import that broke off is run again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path as FsPath, PathBuf},
};

use pentad_model::{Kind, Name, Path};
use serde::{Serialize, ser::SerializeSeq as _};
use serde_json::{Value, json};

use super::{
    confirm,
    put::{About, Content},
};
use crate::{
    client::{Call, at},
    credentials_file::FileKey,
    failure::{Exit, Failure},
    output::{Cell, Output, Table, Tone, field},
    progress::Progress,
    session::Session,
    value::WithValue,
};

mod file;
mod guess;

use file::{Format, Item};

/// Operations in one request: as many as the API takes with room for long values.
const AT_ONCE: usize = 100;

/// Store many values from a file, after a preview: .env, JSON, CSV, or an encrypted credentials file
///
/// The preview says which are new, changed, the same as stored, or refused, and shows no value. The
/// same file twice changes nothing: what is stored already is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad import .env --prefix prod/app --dry-run
  pentad import accounts.csv --kind database --yes   # path,value,kind,target,account
  pentad import secrets.json --owner team-a
  pentad import credentials.json.enc                 # as `pentad export` makes it; asks for the passphrase
  pentad import credentials.json.enc --key-file encryption.key   # a Fernet file, or one of ours")]
pub(super) struct Args {
    /// The file
    file: PathBuf,
    /// What is in it; told by its ending without this: .json, .csv, .enc, else env
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What the paths begin with
    #[arg(long, value_name = "PATH")]
    prefix: Option<Path>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Don't ask after the preview
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    #[command(flatten)]
    key: FileKey,
    #[command(flatten)]
    about: About,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let content = self.about.content()?;
        let format = self.format.unwrap_or_else(|| Format::of(&self.file));
        let items = file::read(&self.file, format, self.prefix.as_ref(), &self.key)?;
        look_for_targets(session, &self.file, &items).await?;
        let fates = preview(session, &items, &content).await?;
        let out = session.output;
        let wanted: Vec<&Item> = items
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| fate.stores())
            .map(|(item, _)| item)
            .collect();
        if self.dry_run || !out.json {
            show(out, &items, &fates, &content, self.dry_run)?;
        }
        if self.dry_run {
            out.note(format!("{} would be stored; nothing was", wanted.len()));
            return Ok(());
        }
        let refused = fates.iter().filter(|fate| fate.name == "refused").count();
        if wanted.is_empty() {
            return finish(out, &items, &fates, &[], refused);
        }
        let question = match refused {
            0 => format!("Store {}?", wanted.len()),
            _ => format!(
                "Store {}, without the {refused} that are refused?",
                wanted.len()
            ),
        };
        confirm(self.yes, &question)?;
        let results = store(session, &self.file, &wanted, &content).await?;
        finish(out, &items, &fates, &results, refused)
    }
}

/// What would become of a row.
struct Fate {
    name: String,
    kind: String,
    score: String,
    why: String,
}

impl Fate {
    fn stores(&self) -> bool {
        matches!(self.name.as_str(), "new" | "changed" | "exists")
    }
}

/// A target that does not exist would fail its rows half-way through.
async fn look_for_targets(session: &Session, file: &FsPath, items: &[Item]) -> Result<(), Failure> {
    let named: BTreeSet<&Name> = items
        .iter()
        .filter_map(|item| item.bound.as_ref())
        .map(|(target, _)| target)
        .collect();
    let mut missing = BTreeSet::new();
    for target in named {
        match session
            .send(Call::get(at("targets", target.as_str())))
            .await
        {
            Ok(_) => {}
            Err(failure) if failure.exit == Exit::Missing => drop(missing.insert(target)),
            // Who may not look at targets may still be allowed to bind to them: it will be said.
            Err(failure) if failure.exit == Exit::Denied => {}
            Err(failure) => return Err(failure),
        }
    }
    let wrong: Vec<String> = items
        .iter()
        .filter_map(|item| {
            let (target, _) = item
                .bound
                .as_ref()
                .filter(|(target, _)| missing.contains(target))?;
            Some(format!(
                "{}, target: there is no target `{target}`",
                item.place
            ))
        })
        .collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(file::refusal(file, &wrong).hint(
            "nothing was stored: `pentad target put` makes a target, `target list` shows them",
        )),
    }
}

async fn preview(
    session: &Session,
    items: &[Item],
    content: &Content,
) -> Result<Vec<Fate>, Failure> {
    let progress = Progress::new(session.output, items.len());
    let all: Vec<&Item> = items.iter().collect();
    let mut fates = Vec::with_capacity(items.len());
    for chunk in all.chunks(AT_ONCE) {
        progress.at(fates.len(), "looking");
        let results = send(session, "preview", chunk, content).await;
        let results = results.inspect_err(|_| progress.end())?;
        fates.extend(results.iter().map(|result| {
            let body = &result["body"];
            match result["problem"].is_null() {
                true => Fate {
                    name: field(body, "fate"),
                    kind: field(body, "kind"),
                    score: field(body, "score"),
                    why: field(body, "why"),
                },
                false => Fate {
                    name: "refused".to_owned(),
                    kind: String::new(),
                    score: String::new(),
                    why: field(&result["problem"], "detail"),
                },
            }
        }));
    }
    progress.end();
    Ok(fates)
}

fn show(
    out: Output,
    items: &[Item],
    fates: &[Fate],
    content: &Content,
    all: bool,
) -> Result<(), Failure> {
    let rows = items.iter().zip(fates).map(|(item, fate)| {
        let binding = binding(item, content).unwrap_or_default();
        json!({
            "place": item.place,
            "path": item.path,
            "fate": fate.name,
            "kind": fate.kind,
            "target": binding["target"],
            "account": binding["account"],
            "bytes": item.value.len(),
            "score": fate.score.parse::<u8>().ok(),
            "why": Some(&fate.why).filter(|why| !why.is_empty()),
        })
    });
    let rows: Vec<Value> = rows.collect();
    if out.json {
        return out.value(&json!({"items": rows, "stored": 0}));
    }
    if !all && fates.iter().all(|fate| fate.name == "same") {
        return Ok(());
    }
    let head = &[
        "PATH", "WOULD BE", "KIND", "TARGET", "ACCOUNT", "BYTES", "SCORE", "WHY",
    ];
    let mut table = Table::new(head, "the file holds nothing");
    // What is left alone is counted, not listed, unless the list is all that was asked for.
    for row in rows.iter().filter(|row| all || row["fate"] != "same") {
        let tone = match row["fate"].as_str() {
            Some("new") => Tone::Good,
            Some("changed" | "exists") => Tone::Doubtful,
            Some("refused") => Tone::Bad,
            _ => Tone::Faint,
        };
        let plain = |name: &str| Cell(Tone::Plain, field(row, name));
        let why = match row["why"].is_null() {
            true => String::new(),
            false => format!("{}: {}", field(row, "place"), field(row, "why")),
        };
        table.row([
            plain("path"),
            Cell(tone, field(row, "fate")),
            plain("kind"),
            plain("target"),
            plain("account"),
            plain("bytes"),
            plain("score"),
            Cell(Tone::Plain, why),
        ]);
    }
    out.table(&table)
}

async fn store(
    session: &Session,
    file: &FsPath,
    items: &[&Item],
    content: &Content,
) -> Result<Vec<(String, Value)>, Failure> {
    let progress = Progress::new(session.output, items.len());
    let mut results = Vec::with_capacity(items.len());
    for chunk in items.chunks(AT_ONCE) {
        progress.at(
            results.len(),
            chunk.first().map_or("", |item| item.path.as_str()),
        );
        match send(session, "put", chunk, content).await {
            Ok(more) => {
                // Results come in the order of the operations.
                let places = chunk.iter().map(|item| item.place.clone());
                results.extend(places.zip(more));
            }
            Err(failure) => {
                progress.end();
                let from = items
                    .get(results.len())
                    .map_or("its end", |item| item.place.as_str());
                return Err(Failure {
                    message: format!("{}, from {from} on: {}", file.display(), failure.message),
                    ..failure
                }
                .hint("run it again: what is stored already is left alone"));
            }
        }
    }
    progress.end();
    Ok(results)
}

fn finish(
    out: Output,
    items: &[Item],
    fates: &[Fate],
    results: &[(String, Value)],
    refused: usize,
) -> Result<(), Failure> {
    let failed = |result: &&(String, Value)| !result.1["problem"].is_null();
    let not = results.iter().filter(failed).count();
    let stored = results.len() - not;
    let same = fates.iter().filter(|fate| fate.name == "same").count();
    if out.json {
        let rows: Vec<Value> = items
            .iter()
            .zip(fates)
            .map(|(item, fate)| {
                let of = |it: &&(String, Value)| it.0 == item.place;
                let result = results.iter().find(of).map(|(_, result)| result);
                json!({"place": item.place, "path": item.path, "fate": fate.name,
                       "why": fate.why, "result": result})
            })
            .collect();
        let failed = not + refused;
        out.value(&json!({"results": rows, "stored": stored, "same": same, "failed": failed}))?;
    } else {
        for (place, result) in results.iter().filter(failed) {
            let path = out.paint(Tone::Bad, &field(result, "path"));
            out.line(format!(
                "{place}, {path}: {}",
                field(&result["problem"], "detail")
            ))?;
        }
        let mut line = format!("{stored} stored, {same} the same as before");
        if not + refused > 0 {
            line.push_str(&format!(", {} not", not + refused));
        }
        out.line(line)?;
    }
    match not + refused {
        0 => Ok(()),
        failed => Err(Failure::new(
            Exit::Partial,
            format!("{failed} of {} {} not stored", items.len(), if failed == 1 { "was" } else { "were" }),
        )
        .hint("mend those, or keep weak ones on record with --accept-weak, and import again: the rest is left alone")),
    }
}

/// Sends these; one result for each.
async fn send(
    session: &Session,
    op: &'static str,
    chunk: &[&Item],
    content: &Content,
) -> Result<Vec<Value>, Failure> {
    #[derive(Serialize)]
    struct Body<'a> {
        operations: Operations<'a>,
    }
    let body = Body {
        operations: Operations { op, chunk, content },
    };
    let mut answer = session
        .send(Call::post("/v1/batch").json(&body)?)
        .await?
        .json()?;
    match answer["results"].take() {
        Value::Array(results) if results.len() == chunk.len() => Ok(results),
        _ => Err(Failure::internal(
            "the server's answer has not one result for each row",
        )),
    }
}

/// A batch's operations, each written from its secret itself.
struct Operations<'a> {
    op: &'static str,
    chunk: &'a [&'a Item],
    content: &'a Content,
}

#[derive(Serialize)]
struct Head<'a> {
    op: &'static str,
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind_if_new: Option<Kind>,
    #[serde(flatten)]
    content: &'a Content,
}

impl Serialize for Operations<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.chunk.len()))?;
        for item in self.chunk {
            // What the file says goes before what the command line says.
            let given = self.content.clone();
            let content = &Content {
                kind: item.kind.or(given.kind),
                description: item.about.description.clone().or(given.description),
                provider: item.about.provider.clone().or(given.provider),
                owner: item.about.owner.clone().or(given.owner),
                tags: item.about.tags.clone().or(given.tags),
                binding: binding(item, self.content),
                ..given
            };
            let guessed = || {
                guess::kind(
                    &item.path,
                    item.value.expose_str(),
                    content.binding.is_some(),
                )
            };
            let head = Head {
                op: self.op,
                path: &item.path,
                kind_if_new: content.kind.is_none().then(guessed),
                content,
            };
            list.serialize_element(&WithValue::new(&head, Some(&item.value)))?;
        }
        list.end()
    }
}

/// A row's own target and account; all else of a binding is the command line's.
fn binding(item: &Item, content: &Content) -> Option<Value> {
    let Some((target, account)) = &item.bound else {
        return content.binding.clone();
    };
    let mut binding = content.binding.clone().unwrap_or_else(|| json!({}));
    binding["target"] = json!(target);
    binding["account"] = json!(account);
    Some(binding)
}

/// What a file may say of a credential beside its value.
#[derive(Default)]
pub(super) struct Extra {
    description: Option<String>,
    provider: Option<String>,
    owner: Option<String>,
    tags: Option<BTreeMap<String, String>>,
}
