//! Many values at once, from a `.env`, CSV or JSON file: all of it is read and checked, and the
//! targets looked for, before the first is stored. What is refused later is told by its place.

use std::{collections::BTreeSet, path::Path as FsPath};

use pentad_model::{Name, Path};
use serde::{Serialize, ser::SerializeSeq as _};
use serde_json::{Value, json};

use super::Content;
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Table, Tone, field},
    progress::Progress,
    session::Session,
    value::WithValue,
};

mod file;

use file::Item;

/// Operations in one request: as many as the API takes with room for long values.
const AT_ONCE: usize = 100;

/// Reads, previews or stores.
pub(super) async fn run(
    session: &Session,
    file: &FsPath,
    prefix: Option<&Path>,
    content: &Content,
    dry_run: bool,
) -> Result<(), Failure> {
    let items = file::read(file, prefix)?;
    look_for_targets(session, file, &items).await?;
    match dry_run {
        true => preview(session, &items, content),
        false => store(session, file, &items, content).await,
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

fn preview(session: &Session, items: &[Item], content: &Content) -> Result<(), Failure> {
    let out = session.output;
    let rows = items.iter().map(|item| {
        let binding = binding(item, content).unwrap_or_default();
        json!({
            "path": item.path,
            "kind": item.kind.or(content.kind),
            "target": binding["target"],
            "account": binding["account"],
            "bytes": item.value.len(),
        })
    });
    let rows: Vec<Value> = rows.collect();
    if out.json {
        return out.value(&json!({"items": rows, "stored": 0}));
    }
    let head = &["PATH", "KIND", "TARGET", "ACCOUNT", "BYTES"];
    let mut table = Table::new(head, "the file holds nothing");
    for row in &rows {
        table.row(["path", "kind", "target", "account", "bytes"].map(|name| field(row, name)));
    }
    out.table(&table)?;
    out.note(format!("{} would be stored; nothing was", items.len()));
    Ok(())
}

async fn store(
    session: &Session,
    file: &FsPath,
    items: &[Item],
    content: &Content,
) -> Result<(), Failure> {
    let out = session.output;
    let progress = Progress::new(out, items.len());
    let mut results = Vec::new();
    let mut broken = None;
    for chunk in items.chunks(AT_ONCE) {
        progress.at(
            results.len(),
            chunk.first().map_or("", |item| item.path.as_str()),
        );
        match send(session, chunk, content).await {
            Ok(more) => results.extend(more),
            Err(failure) => {
                broken = Some(failure);
                break;
            }
        }
    }
    progress.end();
    let failed = results
        .iter()
        .filter(|result| !result["problem"].is_null())
        .count();
    let stored = results.len() - failed;
    if out.json {
        out.value(&json!({"results": results, "failed": failed}))?;
    } else {
        // Results come in the order of the operations.
        for (item, result) in items.iter().zip(&results) {
            if !result["problem"].is_null() {
                let why = field(&result["problem"], "detail");
                let path = out.paint(Tone::Bad, item.path.as_str());
                match item.place.starts_with('`') {
                    // Of JSON the place is the path itself.
                    true => out.line(format!("{path}: {why}"))?,
                    false => out.line(format!("{}, {path}: {why}", item.place))?,
                }
            }
        }
        let unknown = items.len() - results.len();
        let rest = if unknown > 0 {
            format!(", {unknown} unknown")
        } else {
            String::new()
        };
        out.line(format!("{stored} stored, {failed} not{rest}"))?;
    }
    if let Some(failure) = broken {
        let from = items
            .get(results.len())
            .map_or("its end", |item| item.place.as_str());
        return Err(Failure {
            message: format!("{}, from {from} on: {}", file.display(), failure.message),
            ..failure
        }
        .hint("some of those may be stored: look with `pentad list`, then import again"));
    }
    if failed == 0 {
        return Ok(());
    }
    let were = if failed == 1 { "was" } else { "were" };
    let message = format!("{failed} of {} {were} not stored", results.len());
    Err(Failure::new(Exit::Partial, message)
        .hint("mend those and import again: what is stored gets one more version"))
}

/// Stores these; one result for each.
async fn send(session: &Session, chunk: &[Item], content: &Content) -> Result<Vec<Value>, Failure> {
    #[derive(Serialize)]
    struct Body<'a> {
        operations: Operations<'a>,
    }
    let body = Body {
        operations: Operations { chunk, content },
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
    chunk: &'a [Item],
    content: &'a Content,
}

#[derive(Serialize)]
struct Head<'a> {
    op: &'static str,
    path: &'a Path,
    #[serde(flatten)]
    content: &'a Content,
}

impl Serialize for Operations<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.chunk.len()))?;
        for item in self.chunk {
            // What the file says goes before what the command line says.
            let content = &Content {
                kind: item.kind.or(self.content.kind),
                binding: binding(item, self.content),
                ..self.content.clone()
            };
            let head = Head {
                op: "put",
                path: &item.path,
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
