use std::path::PathBuf;

use clap::Subcommand;
use pentad_model::Name;
use pentad_policy::compliance::RuleSet;
use serde_json::Value;

use super::{Filter, Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, field},
    progress::Progress,
    session::Session,
};

/// Rule sets of frameworks, which `check --compliance` holds against what is stored
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the rule sets, built in and made
    #[command(after_help = "Example:\n  pentad compliance list")]
    List(Paging),
    /// Show a rule set's controls, and the checks that stand for them
    #[command(after_help = "Example:\n  pentad compliance show pci-dss-4.0.1")]
    Show {
        /// Its id
        id: Name,
    },
    /// Say whether files hold usable rule sets; nothing is stored
    #[command(after_help = "Example:\n  pentad compliance test house.toml")]
    Test {
        /// Rule sets in TOML
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make or replace a rule set from a file; the built-in ones stay what they are
    #[command(after_help = "Examples:
  pentad compliance put house.toml
  pentad check --compliance house

A file:
  id = \"house\"
  title = \"House rules\"

  [[controls]]
  id = \"H1\"
  title = \"Passwords are long\"
  kinds = [\"password\", \"database\"]
  checks = [{ type = \"length\", min = 20 }]

Checks: length, alphanumeric, score, entropy, accepted_by_policy, blocklist, history, unique,
no_composition_rules, policy_allows_length, max_age, rotation_interval, no_rotation_by_age, bound,
owner, expiry, unexpired, sealed, key_strength, not_exposed, settled, retention, audit_verified,
outside. `compliance show` of a built-in set shows how they are written.")]
    Put {
        /// A rule set in TOML
        file: PathBuf,
    },
    /// Remove a rule set that was made
    #[command(after_help = "Example:\n  pentad compliance delete house")]
    Delete {
        /// Its id
        id: Name,
    },
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/compliance")).await?;
                if out.json {
                    return out.value(&page);
                }
                let mut table = Table::new(&["ID", "TITLE", "EDITION", "CONTROLS"], "there is none");
                for item in items(&page) {
                    let controls = item["controls"].as_array().map_or(0, Vec::len);
                    table.row([
                        field(item, "id"),
                        field(item, "title"),
                        field(item, "edition"),
                        controls.to_string(),
                    ]);
                }
                out.table(&table)
            }
            Action::Show { id } => {
                let all = Paging::default();
                let page = pages(session, &all, "after", || Call::get("/v1/compliance")).await?;
                let found = items(&page).find(|set| set["id"] == id.as_str());
                let set = found.ok_or_else(|| {
                    Failure::new(Exit::Missing, format!("there is no rule set `{id}`"))
                        .hint("`pentad compliance list` shows all")
                })?;
                if out.json {
                    return out.value(set);
                }
                show(session, set)
            }
            Action::Test { files } => {
                for file in files {
                    let set = read(&file)?;
                    out.line(format!(
                        "{}: rule set {} with {} controls is usable",
                        file.display(),
                        set.id,
                        set.controls.len()
                    ))?;
                }
                Ok(())
            }
            Action::Put { file } => {
                let set = read(&file)?;
                let mut body = serde_json::to_value(&set)
                    .map_err(|error| Failure::internal(error.to_string()))?;
                if let Value::Object(fields) = &mut body {
                    fields.remove("id");
                }
                let call = Call::put(at("compliance", set.id.as_str())).json(&body)?;
                let answer = session.send(call).await?;
                out.done(&answer.json()?, format!("rule set {} is stored", set.id))
            }
            Action::Delete { id } => {
                let answer = session.send(Call::delete(at("compliance", id.as_str()))).await?;
                out.done(&answer.json()?, format!("rule set {id} is removed"))
            }
        }
    }
}

fn read(file: &std::path::Path) -> Result<RuleSet, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::file(file.display(), &error))?;
    RuleSet::parse(&text)
        .and_then(|set| set.check_custom().map(|()| set))
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

fn show(session: &Session, set: &Value) -> Result<(), Failure> {
    let out = session.output;
    out.facts(&[
        ("id", field(set, "id")),
        ("title", field(set, "title")),
        ("edition", field(set, "edition")),
        ("source", field(set, "source")),
    ])?;
    let mut table = Table::new(&["CONTROL", "TITLE", "KINDS", "CHECKS"], "it has no controls");
    for control in set["controls"].as_array().into_iter().flatten() {
        let part = control["part"].as_str().map(|part| format!(" ({part})"));
        let checks: Vec<String> = control["checks"]
            .as_array()
            .into_iter()
            .flatten()
            .map(written)
            .collect();
        let open = control["organisation_defined"] == true;
        let checks = match open {
            true => format!("{} (organisation-defined)", checks.join(", ")),
            false => checks.join(", "),
        };
        table.row([
            Cell::from(field(control, "id") + &part.unwrap_or_default()),
            field(control, "title").into(),
            field(control, "kinds").into(),
            Cell(Tone::Faint, checks),
        ]);
    }
    out.table(&table)
}

/// A check as a person reads it: `length min=12`.
fn written(check: &Value) -> String {
    let mut text = field(check, "type");
    for (name, value) in check.as_object().into_iter().flatten() {
        if name != "type" && name != "why" {
            text.push_str(&format!(" {name}={}", crate::output::text_of(value)));
        }
    }
    text
}

/// `check --compliance`: follows the pages, adds their counts up, and shows what fails.
pub(super) async fn comply(
    session: &Session,
    set: &Name,
    filter: &Filter,
    paging: &Paging,
) -> Result<(), Failure> {
    let progress = Progress::new(session.output, 0);
    let report = walk(session, set, filter, paging).await;
    progress.end();
    let report = report?;
    let out = session.output;
    if out.json {
        out.value(&report)?;
        return verdict(&report);
    }
    let mut table = Table::new(
        &["CONTROL", "PASS", "FAIL", "UNKNOWN", "N/A", "TITLE"],
        "the rule set has no controls about credentials",
    );
    for control in listed(&report, "controls") {
        let of = |name| Cell::from(field(control, name));
        let failed = match control["failed"].as_u64() {
            Some(0) => of("failed"),
            _ => Cell(Tone::Bad, field(control, "failed")),
        };
        let counts = [of("passed"), failed, of("not_assessed"), of("not_applicable")];
        let row = std::iter::once(of("control")).chain(counts);
        table.row(row.chain([of("title")]));
    }
    for control in listed(&report, "system") {
        let empty = || Cell::from("");
        let unknown = Cell(Tone::Doubtful, "?".to_owned());
        let of = |name| Cell::from(field(control, name));
        table.row([of("control"), empty(), empty(), unknown, empty(), of("title")]);
    }
    out.table(&table)?;
    let mut failing = Table::new(&["PATH", "CONTROL", "WHY", "WHAT TO DO"], "nothing fails");
    for item in items(&report) {
        for failed in listed(item, "failed") {
            failing.row([
                field(item, "path"),
                field(failed, "control"),
                field(failed, "because"),
                field(failed, "advice"),
            ]);
        }
    }
    out.line("")?;
    out.table(&failing)?;
    unknowns(session, &report);
    if let Some(note) = report["note"].as_str() {
        out.note(format!("note: {note}"));
    }
    verdict(&report)
}

/// What could not be told, and why: on standard error, for people.
fn unknowns(session: &Session, report: &Value) {
    for control in listed(report, "controls") {
        for why in listed(control, "not_assessed_because") {
            let why = why.as_str().unwrap_or_default();
            session
                .output
                .note(format!("not assessed: {}: {why}", field(control, "control")));
        }
    }
    for control in listed(report, "system") {
        session.output.note(format!(
            "not assessed: {}: {}",
            field(control, "control"),
            field(control, "because")
        ));
    }
}

/// All pages, or the one that was asked for, as one report.
async fn walk(
    session: &Session,
    set: &Name,
    filter: &Filter,
    paging: &Paging,
) -> Result<Value, Failure> {
    let limit = paging.limit.unwrap_or(1000);
    let mut after = paging.after.clone();
    let mut whole: Option<Value> = None;
    loop {
        let call = filter
            .on(Call::get(at("compliance", set.as_str())))
            .query("limit", Some(limit))
            .query("after", after.as_ref());
        let page = session.send(call).await?.json()?;
        after = page["next"].as_str().map(str::to_owned);
        whole = Some(match whole {
            None => page,
            Some(whole) => added(whole, page),
        });
        if paging.limit.is_some() || after.is_none() {
            return Ok(whole.unwrap_or_default());
        }
    }
}

/// Adds a page to the report before it.
fn added(mut whole: Value, mut page: Value) -> Value {
    let sum = |whole: &mut Value, page: &Value, name: &str| {
        let of = |value: &Value| value[name].as_u64().unwrap_or(0);
        whole[name] = (of(whole) + of(page)).into();
    };
    sum(&mut whole, &page, "looked_at");
    let controls = whole["controls"].as_array_mut().into_iter().flatten();
    for (control, more) in controls.zip(listed(&page, "controls")) {
        for name in ["passed", "failed", "not_assessed", "not_applicable"] {
            sum(control, more, name);
        }
        let known = control["not_assessed_because"].as_array_mut();
        if let (Some(known), Some(more)) = (known, more["not_assessed_because"].as_array()) {
            let new: Vec<Value> = more.iter().filter(|why| !known.contains(why)).cloned().collect();
            known.extend(new.into_iter().take(3usize.saturating_sub(known.len())));
        }
    }
    if let (Value::Array(more), Some(items)) = (page["items"].take(), whole["items"].as_array_mut())
    {
        items.extend(more);
    }
    whole["next"] = page["next"].take();
    whole
}

fn listed<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

fn verdict(report: &Value) -> Result<(), Failure> {
    match items(report).count() {
        0 => Ok(()),
        failing => Err(Failure::new(
            Exit::Refused,
            format!("{failing} of {} credentials fail a control", field(report, "looked_at")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_add_up() {
        let page = |passed: u64, path: &str, next: Value| {
            json!({"looked_at": 2, "items": [{"path": path}], "next": next, "controls": [
                {"control": "1", "passed": passed, "failed": 1, "not_assessed": 0,
                 "not_applicable": 0, "not_assessed_because": [path]}]})
        };
        let whole = added(page(3, "a", json!("a")), page(4, "b", Value::Null));
        assert_eq!(whole["looked_at"], 4);
        assert_eq!(whole["controls"][0]["passed"], 7);
        assert_eq!(whole["controls"][0]["failed"], 2);
        assert_eq!(whole["controls"][0]["not_assessed_because"], json!(["a", "b"]));
        assert_eq!(whole["items"], json!([{"path": "a"}, {"path": "b"}]));
        assert_eq!(whole["next"], Value::Null);
    }
}
