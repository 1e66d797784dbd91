//! Many values at once, from a `.env`, CSV or JSON file: all of it is read and checked before the
//! first is stored.

use std::path::Path as FsPath;

use pentad_model::{Path, Secret};
use serde::{Serialize, ser::SerializeSeq as _};
use zeroize::Zeroizing;

use super::Content;
use crate::{
    client::Call,
    failure::{Exit, Failure},
    output::{Table, Tone, field},
    progress::Progress,
    session::Session,
    value::WithValue,
};

/// Operations in one request: as many as the API takes with room for long values.
const AT_ONCE: usize = 100;

/// One value to store.
struct Item {
    path: Path,
    value: Secret,
    kind: Option<String>,
}

/// Reads, previews or stores.
pub(super) async fn run(
    session: &Session,
    file: &FsPath,
    prefix: Option<&Path>,
    content: &Content,
    dry_run: bool,
) -> Result<(), Failure> {
    let items = read(file, prefix)?;
    let out = session.output;
    if dry_run {
        let mut table = Table::new(&["PATH", "KIND", "BYTES"], "the file holds nothing");
        for item in &items {
            let kind = item.kind.clone().unwrap_or_default();
            table.row([item.path.to_string(), kind, item.value.len().to_string()]);
        }
        out.table(&table)?;
        out.note(format!("{} would be stored; nothing was", items.len()));
        return Ok(());
    }
    let progress = Progress::new(out, items.len());
    let (mut done, mut results) = (0, Vec::new());
    for chunk in items.chunks(AT_ONCE) {
        progress.at(done, chunk.first().map_or("", |item| item.path.as_str()));
        let body = Operations { chunk, content };
        let mut answer =
            session.send(Call::post("/v1/batch").json(&serde_json_wrap(&body))?).await?.json()?;
        if let serde_json::Value::Array(more) = answer["results"].take() {
            results.extend(more);
        }
        done += chunk.len();
        progress.at(done, "");
    }
    progress.end();
    let failed: Vec<_> = results.iter().filter(|result| !result["problem"].is_null()).collect();
    if out.json {
        out.value(&serde_json::json!({"results": results, "failed": failed.len()}))?;
    } else {
        for result in &failed {
            let why = field(&result["problem"], "detail");
            out.line(format!("{}: {}", out.paint(Tone::Bad, &field(result, "path")), why))?;
        }
        out.line(format!("{} stored, {} not", results.len() - failed.len(), failed.len()))?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Partial,
            format!("{} of {} were not stored", failed.len(), results.len()),
        )
        .hint("mend those and import again: what is stored gets one more version")),
    }
}

fn serde_json_wrap<'a>(body: &'a Operations<'a>) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Body<'a> {
        operations: &'a Operations<'a>,
    }
    Body { operations: body }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(flatten)]
    content: &'a Content,
}

impl Serialize for Operations<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.chunk.len()))?;
        for item in self.chunk {
            // A kind of the file's own goes before the one of the command line.
            let kind = item.kind.as_deref();
            let content = &Content {
                kind: self.content.kind.filter(|_| kind.is_none()),
                ..self.content.clone()
            };
            let head = Head { op: "put", path: &item.path, kind, content };
            list.serialize_element(&WithValue::new(&head, Some(&item.value)))?;
        }
        list.end()
    }
}

fn read(file: &FsPath, prefix: Option<&Path>) -> Result<Vec<Item>, Failure> {
    let name = file.display();
    let bytes = Zeroizing::new(std::fs::read(file).map_err(|e| Failure::file(name.to_string(), &e))?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))?;
    let rows = match file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => from_json(text)?,
        Some("csv") => from_csv(text)?,
        _ => from_env(text)?,
    };
    rows.into_iter()
        .map(|(place, path, value, kind)| {
            let full = match prefix {
                Some(prefix) => format!("{prefix}/{path}"),
                None => path,
            };
            let wrong = |why: String| Failure::usage(format!("{name}, {place}: {why}"));
            let path = full.parse().map_err(|error| wrong(format!("{error}")))?;
            if value.is_empty() {
                return Err(wrong("the value is empty".to_owned()));
            }
            Ok(Item { path, value, kind })
        })
        .collect()
}

/// Where it stands, path, value, kind.
type Row = (String, String, Secret, Option<String>);

/// `NAME=value` lines; quotes around a value are dropped, `export` and comments skipped.
fn from_env(text: &str) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("line {}", index + 1);
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=')
        else {
            return Err(Failure::usage(format!("{place} is not NAME=value")));
        };
        let value = value.trim();
        let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        rows.push((place, name.trim().to_owned(), Secret::new(value), None));
    }
    Ok(rows)
}

/// A heading line with `path` and `value`, and `kind` if wanted.
fn from_csv(text: &str) -> Result<Vec<Row>, Failure> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let wrong = |error: csv::Error| {
        // Its words could quote a value; its place can't.
        let line = error.position().map_or(0, csv::Position::line);
        Failure::usage(format!("line {line} is no CSV with as many fields as the heading"))
    };
    let heads = reader.headers().map_err(wrong)?.clone();
    let column = |name: &str| heads.iter().position(|head| head.trim() == name);
    let (Some(path), Some(value)) = (column("path"), column("value")) else {
        return Err(Failure::usage("the first line must name the columns `path` and `value`"));
    };
    let kind = column("kind");
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: usize| record.get(at).unwrap_or_default();
        let kind = kind.map(cell).filter(|kind| !kind.is_empty()).map(str::to_owned);
        rows.push((format!("line {line}"), cell(path).to_owned(), Secret::new(cell(value)), kind));
    }
    Ok(rows)
}

/// `{"path": "value"}`.
fn from_json(text: &str) -> Result<Vec<Row>, Failure> {
    let map: std::collections::BTreeMap<String, String> =
        serde_json::from_str(text).map_err(|error| {
            Failure::usage(format!(
                "line {} is not of the form {{\"path\": \"value\"}}",
                error.line()
            ))
        })?;
    Ok(map
        .into_iter()
        .map(|(path, value)| (format!("`{path}`"), path, Secret::new(value), None))
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_env_file_is_read_with_quotes_comments_and_exports() {
        let rows = from_env("# c\n\nA=1\nexport B=\"two words\"\nC='x=y'\n").unwrap();
        let read: Vec<_> =
            rows.iter().map(|row| (row.1.as_str(), row.2.expose_str().unwrap())).collect();
        assert_eq!(read, [("A", "1"), ("B", "two words"), ("C", "x=y")]);
        assert!(from_env("nonsense").is_err());
    }

    #[test]
    fn csv_needs_a_heading_and_takes_kinds() {
        let rows = from_csv("path,value,kind\na/b,\"s,1\",token\nc,s2,\n").unwrap();
        assert_eq!(rows[0].2.expose_str(), Some("s,1"));
        assert_eq!((rows[0].3.as_deref(), rows[1].3.as_deref()), (Some("token"), None));
        assert!(from_csv("a/b,secret\n").is_err());
    }
}
