use pentad_model::{Name, Path};
use serde_json::{Value, json};

use super::{Filter, Paging, compliance::comply, items, pages};
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, field},
    progress::Progress,
    session::Session,
};

/// Judge stored values: strength, reuse, format, age
///
/// Ends with exit code 6 if policy would refuse one of them, or if a control of the rule set fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad check prod/orders/db
  pentad check --prefix prod/
  pentad check --compliance pci-dss-4.0.1 --prefix prod/
  pentad check --kind password --json")]
pub(super) struct Args {
    /// One; all that the filter lets through otherwise
    #[arg(conflicts_with_all = ["prefix", "kind", "tag", "target"])]
    path: Option<Path>,
    /// Hold a framework's rule set against them instead; `pentad compliance list` shows which. An
    /// aid, no attestation
    #[arg(long, value_name = "SET", conflicts_with = "path")]
    compliance: Option<Name>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        if let Some(set) = &self.compliance {
            return comply(session, set, &self.filter, &self.paging).await;
        }
        let page = match &self.path {
            Some(path) => {
                let one = session.send(Call::get(at("checks", path.as_str()))).await?.json()?;
                if out.json {
                    out.value(&one)?;
                    return verdict(&json!({"items": [one]}));
                }
                json!({"items": [one]})
            }
            None => self.estate(session).await?,
        };
        if out.json {
            out.value(&page)?;
            return verdict(&page);
        }
        let mut table = Table::new(&["PATH", "SCORE", "VERDICT", "RISK", "FINDINGS"], "there is nothing to check");
        for item in items(&page) {
            let judged = &item["assessment"];
            let verdict: Cell = match (judged["accepted"].as_bool(), item["problem"].is_null()) {
                (Some(true), _) => Cell(Tone::Good, "accepted".to_owned()),
                (Some(false), _) => Cell(Tone::Bad, "refused".to_owned()),
                (None, true) => Cell(Tone::Faint, "no value".to_owned()),
                (None, false) => Cell(Tone::Doubtful, "can't tell".to_owned()),
            };
            table.row([
                field(item, "path").into(),
                field(judged, "score").into(),
                verdict,
                risk(item),
                found(item).into(),
            ]);
        }
        out.table(&table)?;
        verdict(&page)
    }

    /// All pages, with progress: each value is opened and judged.
    async fn estate(&self, session: &Session) -> Result<Value, Failure> {
        let progress = Progress::new(session.output, 0);
        let page = pages(session, &self.paging, "after", || {
            self.filter.on(Call::get("/v1/checks"))
        })
        .await;
        progress.end();
        page
    }
}

fn risk(item: &Value) -> Cell {
    let level = field(&item["risk"], "level");
    let tone = match level.as_str() {
        "critical" => Tone::Bad,
        "high" => Tone::Doubtful,
        "low" => Tone::Faint,
        _ => Tone::Plain,
    };
    Cell(tone, level)
}

fn found(item: &Value) -> String {
    let findings = item["assessment"]["findings"].as_array().into_iter().flatten();
    let mut told: Vec<String> = findings.map(|finding| field(finding, "message")).collect();
    told.extend(item["problem"].as_str().map(str::to_owned));
    told.join("; ")
}

fn verdict(page: &Value) -> Result<(), Failure> {
    let refused = items(page).filter(|item| item["assessment"]["accepted"] == false).count();
    let unjudged = items(page).filter(|item| !item["problem"].is_null()).count();
    match (refused, unjudged) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::new(Exit::Partial, format!("{unjudged} could not be judged"))),
        _ => Err(Failure::new(Exit::Refused, format!("policy refuses {refused} of the values"))
            .hint("rotate them, or `pentad put --generate` new ones")),
    }
}
