//! What an import's file holds: rows of three formats, all of them checked, each bad one named by
//! its place. No message repeats a value.

use std::{collections::BTreeMap, path::Path as FsPath};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pentad_model::{Kind, Name, Path, Secret};
use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use super::Extra;
use crate::{
    config::nearest,
    credentials_file::{self, FileKey},
    failure::{Exit, Failure},
};

/// Bad rows that are told one by one.
const TOLD: usize = 20;

/// The columns that a CSV file may have.
const COLUMNS: [&str; 5] = ["path", "value", "kind", "target", "account"];

/// The deepest that objects of a JSON file lie in each other.
const DEEPEST: usize = 16;

/// What an import's file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Format {
    /// `NAME=value` lines
    Env,
    /// `{"path": "value"}`, objects in objects, or `{"path": {"value": …, "kind": …}}`
    Json,
    /// A first line that names the columns
    Csv,
    /// An encrypted credentials file: ours, or a Fernet token that holds JSON
    Enc,
}

impl Format {
    /// By the file's ending.
    pub(super) fn of(file: &FsPath) -> Self {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("csv") => Self::Csv,
            Some("enc") => Self::Enc,
            _ => Self::Env,
        }
    }
}

/// One value to store.
pub(super) struct Item {
    /// Where it stands in the file: `line 3`.
    pub(super) place: String,
    pub(super) path: Path,
    pub(super) value: Secret,
    pub(super) kind: Option<Kind>,
    /// The target and the account there.
    pub(super) bound: Option<(Name, String)>,
    /// What else the file says of it.
    pub(super) about: Extra,
}

/// A row as it stands in the file.
struct Row {
    place: String,
    path: String,
    value: Secret,
    kind: String,
    target: String,
    account: String,
    about: Extra,
}

impl Row {
    fn new(place: String, path: impl Into<String>, value: Secret) -> Self {
        let none = String::new;
        Self {
            place,
            path: path.into(),
            value,
            kind: none(),
            target: none(),
            account: none(),
            about: Extra::default(),
        }
    }
}

/// All of the file's rows, or all that is wrong with it.
pub(super) fn read(
    file: &FsPath,
    format: Format,
    prefix: Option<&Path>,
    key: &FileKey,
) -> Result<Vec<Item>, Failure> {
    let name = file.display();
    let bytes =
        Zeroizing::new(std::fs::read(file).map_err(|e| Failure::file(name.to_string(), &e))?);
    let opened;
    let text = match format {
        Format::Enc => {
            opened = credentials_file::open(file, &bytes, key)?;
            opened.expose()
        }
        _ => &bytes,
    };
    let text = std::str::from_utf8(text)
        .map_err(|_| Failure::usage(format!("{name} is not UTF-8 text")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rows = match format {
        Format::Json | Format::Enc => from_json(text),
        Format::Csv => from_csv(text),
        Format::Env => from_env(text),
    };
    let rows = rows.map_err(|failure| Failure {
        message: format!("{name}: {}", failure.message),
        ..failure
    })?;
    let (items, wrong) = checked(rows, prefix);
    match wrong.is_empty() {
        true => Ok(items),
        false => Err(refusal(file, &wrong)),
    }
}

/// The failure that names these rows.
pub(super) fn refusal(file: &FsPath, wrong: &[String]) -> Failure {
    let rows = if wrong.len() == 1 {
        "row is"
    } else {
        "rows are"
    };
    let mut message = format!("{}: {} {rows} wrong", file.display(), wrong.len());
    for one in wrong.iter().take(TOLD) {
        message.push_str(&format!("\n  {}", crate::output::printable(one)));
    }
    if wrong.len() > TOLD {
        message.push_str(&format!("\n  and {} more", wrong.len() - TOLD));
    }
    Failure::new(Exit::Usage, message)
        .hint("nothing was stored: mend them and look again with --dry-run")
}

/// Rows in their types, and what is wrong with the others.
fn checked(rows: Vec<Row>, prefix: Option<&Path>) -> (Vec<Item>, Vec<String>) {
    let (mut items, mut wrong) = (Vec::<Item>::with_capacity(rows.len()), Vec::new());
    let mut seen: BTreeMap<Path, String> = BTreeMap::new();
    for row in rows {
        match item(row, prefix) {
            Err(why) => wrong.push(why),
            Ok(item) => match seen.get(&item.path) {
                Some(first) => wrong.push(format!(
                    "{}, path: `{}` stands in {first} already",
                    item.place, item.path
                )),
                None => {
                    seen.insert(item.path.clone(), item.place.clone());
                    items.push(item);
                }
            },
        }
    }
    (items, wrong)
}

fn item(row: Row, prefix: Option<&Path>) -> Result<Item, String> {
    let wrong = |column: &str, why: String| format!("{}, {column}: {why}", row.place);
    let full = match prefix {
        Some(prefix) => format!("{prefix}/{}", row.path),
        None => row.path.clone(),
    };
    let path = full
        .parse()
        .map_err(|error| wrong("path", format!("{error}")))?;
    if row.value.is_empty() {
        return Err(wrong("value", "it is empty".to_owned()));
    }
    let kind = match row.kind.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|error| wrong("kind", format!("{error}")))?,
        ),
    };
    let bound = match (row.target.as_str(), row.account.is_empty()) {
        ("", true) => None,
        ("", false) => {
            return Err(wrong(
                "target",
                "it is empty, but there is an account".to_owned(),
            ));
        }
        (_, true) => {
            return Err(wrong(
                "account",
                "it is empty, but there is a target".to_owned(),
            ));
        }
        (target, false) => {
            let target = target
                .parse()
                .map_err(|error| wrong("target", format!("{error}")))?;
            Some((target, row.account.clone()))
        }
    };
    Ok(Item {
        place: row.place,
        path,
        value: row.value,
        kind,
        bound,
        about: row.about,
    })
}

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
        let quoted = |quote| {
            let inner = value.strip_prefix(quote)?;
            inner.strip_suffix(quote)
        };
        let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
        rows.push(Row::new(place, name.trim(), Secret::new(value)));
    }
    Ok(rows)
}

/// A heading line that names the columns, in any order: `path` and `value`, and those of `kind`,
/// `target` and `account` that are wanted.
fn from_csv(text: &str) -> Result<Vec<Row>, Failure> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let heads = reader.headers().map_err(|error| not_csv(&error))?.clone();
    let columns = Columns::of(&heads)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| not_csv(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default();
        let word = |at| cell(at).trim().to_owned();
        rows.push(Row {
            kind: word(columns.at("kind")),
            target: word(columns.at("target")),
            account: word(columns.at("account")),
            ..Row::new(
                format!("line {line}"),
                word(columns.at("path")),
                Secret::new(cell(columns.at("value"))),
            )
        });
    }
    Ok(rows)
}

/// Which column stands where.
struct Columns([Option<usize>; COLUMNS.len()]);

impl Columns {
    /// What is not known is refused: a column that is passed over would be lost.
    fn of(heads: &csv::StringRecord) -> Result<Self, Failure> {
        let mut found = [None; COLUMNS.len()];
        for (at, head) in heads.iter().enumerate() {
            let head = head.trim();
            let Some(which) = COLUMNS.iter().position(|known| *known == head) else {
                return Err(unknown(heads, head));
            };
            if found[which].replace(at).is_some() {
                return Err(Failure::usage(format!(
                    "line 1 names the column `{head}` twice"
                )));
            }
        }
        match (found[0], found[1]) {
            (Some(_), Some(_)) => Ok(Self(found)),
            _ => Err(no_heading()),
        }
    }

    fn at(&self, name: &str) -> Option<usize> {
        let which = COLUMNS.iter().position(|known| *known == name)?;
        self.0[which]
    }
}

/// The first line may be a row of values already: it is not repeated unless it is near a heading.
fn unknown(heads: &csv::StringRecord, head: &str) -> Failure {
    let known = |head: &str| COLUMNS.contains(&head.trim());
    // Of a row of values one may be the name of a column by chance; not both of these.
    let is_heading = ["path", "value"]
        .iter()
        .all(|one| heads.iter().any(|head| head.trim() == *one));
    match nearest(head, COLUMNS.map(str::to_owned).into_iter()) {
        _ if heads.len() == 1 && head.contains(';') => {
            Failure::usage("line 1: the columns are to be separated by commas, not by semicolons")
        }
        Some(near) if heads.iter().any(known) => {
            Failure::usage(format!("line 1: there is no column `{head}`")).hint(format!(
                "did you mean `{near}`? The columns are {}",
                COLUMNS.join(", ")
            ))
        }
        _ if is_heading => Failure::usage(format!(
            "line 1: there is no column `{head}`"
        ))
        .hint(format!(
            "leave it away; the columns are {}. What all rows share is an option: --owner, --tag",
            COLUMNS.join(", ")
        )),
        _ => no_heading(),
    }
}

fn no_heading() -> Failure {
    Failure::usage("line 1 must name the columns, `path` and `value` among them")
        .hint("for example: path,value,kind,target,account")
}

/// The library's own words could quote a value; numbers can't.
fn not_csv(error: &csv::Error) -> Failure {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => Failure::usage(format!(
            "line {line} has {len} fields, the heading has {expected_len}"
        ))
        .hint("a value with a comma or a quote stands in quotes: \"a,b\", \"a\"\"b\""),
        _ => Failure::usage(format!("line {line} is no CSV")),
    }
}

/// `{"path": "value"}`; an object with a `value` or `value_base64` is one credential with what is known
/// of it, any other object is a level of the path.
fn from_json(text: &str) -> Result<Vec<Row>, Failure> {
    let form = "{\"path\": \"value\"}";
    let parsed: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("line {} is not of the form {form}", error.line()))
    })?;
    let mut rows = Vec::new();
    level(parsed, "", 0, &mut rows)?;
    Ok(rows)
}

fn level(
    object: Map<String, Value>,
    above: &str,
    depth: usize,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    for (name, value) in object {
        let path = match above {
            "" => name,
            above => format!("{above}/{name}"),
        };
        match value {
            Value::String(value) => {
                rows.push(Row::new(format!("`{path}`"), path, Secret::new(value)))
            }
            Value::Object(inner) if is_credential(&inner) => rows.push(credential(path, inner)?),
            Value::Object(inner) if depth < DEEPEST => level(inner, &path, depth + 1, rows)?,
            _ => {
                return Err(
                    Failure::usage(format!("`{path}` is neither a text nor an object"))
                        .hint("a value stands in quotes; leave away what is no credential"),
                );
            }
        }
    }
    Ok(())
}

/// `value` is text, and what stands beside it is what we write there: else it is a credential that is
/// named so.
fn is_credential(object: &Map<String, Value>) -> bool {
    let known = |name: &String| FIELDS.contains(&name.as_str());
    let has = |name: &str| object.get(name).is_some_and(Value::is_string);
    (has("value") || has("value_base64")) && object.keys().all(known)
}

/// The fields of a credential in a JSON file.
const FIELDS: [&str; 10] = [
    "value",
    "value_base64",
    "kind",
    "target",
    "account",
    "description",
    "provider",
    "owner",
    "tags",
    "in_doubt",
];

fn credential(path: String, mut object: Map<String, Value>) -> Result<Row, Failure> {
    let mut text = |name: &str| match object.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let value = match (text("value"), text("value_base64")) {
        (Some(value), _) => Secret::new(value),
        (None, Some(mut encoded)) => {
            let decoded = STANDARD.decode(encoded.as_bytes());
            encoded.zeroize();
            let wrong = || Failure::usage(format!("`{path}`, value_base64: it is not base64"));
            Secret::new(decoded.map_err(|_| wrong())?)
        }
        (None, None) => Secret::new(""),
    };
    let row = Row {
        kind: text("kind").unwrap_or_default(),
        target: text("target").unwrap_or_default(),
        account: text("account").unwrap_or_default(),
        about: Extra {
            description: text("description"),
            provider: text("provider"),
            owner: text("owner"),
            tags: None,
        },
        ..Row::new(format!("`{path}`"), path, value)
    };
    let tags = object.remove("tags").map(serde_json::from_value);
    let tags = tags
        .transpose()
        .map_err(|_| Failure::usage(format!("{}, tags: they are texts by name", row.place)))?;
    let about = Extra { tags, ..row.about };
    Ok(Row { about, ..row })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_env_file_is_read_with_quotes_comments_and_exports() {
        let rows = from_env("# c\n\nA=1\nexport B=\"two words\"\nC='x=y'\n").unwrap();
        let read: Vec<_> = rows
            .iter()
            .map(|row| (row.path.as_str(), row.value.expose_str().unwrap()))
            .collect();
        assert_eq!(read, [("A", "1"), ("B", "two words"), ("C", "x=y")]);
        assert!(from_env("nonsense").is_err());
    }

    #[test]
    fn json_has_levels_and_credentials_with_what_is_known_of_them() {
        let text = r#"{"a": "1", "b": {"c": {"d": "2"}, "value": {"e": "3"}},
            "f": {"value": "4", "kind": "token", "owner": "ann", "tags": {"env": "prod"},
                  "target": "pg", "account": "app"},
            "g": {"value": "5", "secret": "6"}, "h": {"value_base64": "AP8="}}"#;
        let (items, wrong) = checked(from_json(text).unwrap(), None);
        assert_eq!(wrong, [""; 0]);
        let found: Vec<_> = items
            .iter()
            .map(|item| (item.path.as_str(), item.value.expose_str().unwrap_or("")))
            .collect();
        // An object with other fields beside its `value` is a level of the path.
        let expected = [
            ("a", "1"),
            ("b/c/d", "2"),
            ("b/value/e", "3"),
            ("f", "4"),
            ("g/secret", "6"),
            ("g/value", "5"),
            ("h", ""),
        ];
        assert_eq!(found, expected);
        let known = &items[3];
        assert_eq!(known.kind, Some(Kind::Token));
        assert_eq!(known.about.owner.as_deref(), Some("ann"));
        assert_eq!(known.about.tags.as_ref().unwrap()["env"], "prod");
        assert_eq!(known.bound.as_ref().unwrap().1, "app");
        assert_eq!(items[6].value.expose(), [0, 255]);
    }

    #[test]
    fn what_is_no_credential_in_json_is_named_and_not_repeated() {
        for text in [
            r#"{"a": 4711}"#,
            r#"{"a": ["hunter2"]}"#,
            r#"{"a": {"value_base64": "hunter2!"}}"#,
            r#"{"a": {"value": "hunter2", "tags": ["hunter2"]}}"#,
            r#"["hunter2"]"#,
        ] {
            let told = format!("{:?}", from_json(text).err().unwrap());
            assert!(!told.contains("hunter2") && !told.contains("4711"), "{told}");
        }
        let deep = format!("{}\"x\"{}", "{\"a\":".repeat(40), "}".repeat(40));
        assert!(from_json(&deep).is_err());
    }

    #[test]
    fn csv_columns_stand_in_any_order_and_bind() {
        let text = "account,path,value,kind,target\nann,a/b,\"s,1\",token,pg\n,c,s2,,\n";
        let (items, wrong) = checked(from_csv(text).unwrap(), None);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(items[0].value.expose_str(), Some("s,1"));
        assert_eq!((items[0].kind, items[1].kind), (Some(Kind::Token), None));
        let (target, account) = items[0].bound.as_ref().unwrap();
        assert_eq!((target.as_str(), account.as_str()), ("pg", "ann"));
        assert!(items[1].bound.is_none());
    }

    #[test]
    fn a_first_line_that_is_a_row_already_is_not_repeated() {
        for line in [
            "account,hunter2-canary",
            "value,hunter2-canary,target",
            "hunter2-canary,path",
        ] {
            let told = format!("{:?}", from_csv(line).err().unwrap());
            assert!(!told.contains("canary"), "{told}");
        }
        let told = format!("{:?}", from_csv("path,value,colour\n").err().unwrap());
        assert!(told.contains("colour"), "{told}");
    }

    #[test]
    fn every_bad_row_is_named_with_line_and_column_and_without_its_value() {
        let text = "path,value,kind,target,account\n\
                    a b,hunter2,,,\n\
                    b,,,,\n\
                    c,hunter2,passwrd,,\n\
                    d,hunter2,,pg,\n\
                    e,hunter2,,,ann\n\
                    f,hunter2,,p g,ann\n\
                    g,hunter2,,,\n\
                    g,hunter2,,,\n";
        let (items, wrong) = checked(from_csv(text).unwrap(), None);
        assert_eq!(items.len(), 1);
        let places: Vec<&str> = wrong
            .iter()
            .map(|it| it.split(':').next().unwrap())
            .collect();
        let expected = [
            "line 2, path",
            "line 3, value",
            "line 4, kind",
            "line 5, account",
            "line 6, target",
            "line 7, target",
            "line 9, path",
        ];
        assert_eq!(places, expected);
        assert!(!wrong.concat().contains("hunter2"), "{wrong:?}");
    }

    #[test]
    fn a_wrong_heading_is_told_and_a_row_in_its_place_is_not() {
        let told = |text: &str| {
            let failure = from_csv(text).err().unwrap();
            format!("{} {}", failure.message, failure.hint.unwrap_or_default())
        };
        assert!(told("path,valeu\n").contains("did you mean `value`"));
        assert!(told("path,value,team\n").contains("--owner"));
        assert!(told("path;value\n").contains("semicolons"));
        assert!(told("path,value,path\n").contains("twice"));
        assert!(told("path,value\na,b,c\n").contains("line 2 has 3 fields"));
        let told = told("a/b,hunter2\n");
        assert!(
            told.contains("must name the columns") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
