use clap::Subcommand;
use pentad_model::Name;
use serde_json::{Map, Value, json};

use super::{Paging, confirm, items, pages};
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Table, field},
    progress::Progress,
    session::Session,
};

/// Retention: which old values and deleted credentials are destroyed, and when
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make or replace a rule. A server obeys it within the hour; where several match, the longest
    /// keeps
    #[command(after_help = "Examples:
  pentad retention put default --path '**' --keep-versions 5 --keep-days 90 --deleted-days 30
  pentad retention put dispute --path 'prod/billing/**' --hold
  pentad retention plan")]
    Put(Rule),
    /// List the rules
    #[command(after_help = "Example:\n  pentad retention list")]
    List(Paging),
    /// Remove a rule; what it held is held no more
    #[command(after_help = "Example:\n  pentad retention delete dispute")]
    Delete {
        /// Its name
        name: Name,
    },
    /// Show what would be destroyed now; nothing is
    #[command(after_help = "Example:\n  pentad retention plan")]
    Plan,
    /// Destroy what is due now, without waiting for the server's sweep
    #[command(after_help = "Examples:
  pentad retention plan
  pentad retention apply --yes")]
    Apply {
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Rule {
    /// Its name
    name: Name,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// The paths that it speaks of, by pattern; may be repeated
    #[arg(long = "path", value_name = "PATTERN", required = true)]
    paths: Vec<String>,
    /// Of each credential, keep so many of the newest old values
    #[arg(long, value_name = "N")]
    keep_versions: Option<u32>,
    /// Keep an old value for so many days
    #[arg(long, value_name = "DAYS")]
    keep_days: Option<u32>,
    /// Remove a deleted credential for good after so many days
    #[arg(long, value_name = "DAYS")]
    deleted_days: Option<u32>,
    /// Keep everything, whatever other rules say
    #[arg(long, conflicts_with_all = ["keep_versions", "keep_days", "deleted_days"])]
    hold: bool,
}

impl Rule {
    /// What was said, in the API's words.
    fn said(&self) -> Map<String, Value> {
        [
            ("description", self.description.clone().map(Value::from)),
            ("paths", Some(Value::from(self.paths.clone()))),
            ("keep_versions", self.keep_versions.map(Value::from)),
            ("keep_days", self.keep_days.map(Value::from)),
            ("deleted_days", self.deleted_days.map(Value::from)),
            ("hold", self.hold.then_some(Value::Bool(true))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Put(rule) => {
                let call = Call::put(at("retention/rules", rule.name.as_str()));
                let answer = session.send(call.json(&rule.said())?).await?;
                out.done(&answer.json()?, format!("retention rule {} is stored", rule.name))
            }
            Action::List(paging) => {
                let page =
                    pages(session, &paging, "after", || Call::get("/v1/retention/rules")).await?;
                if out.json {
                    return out.value(&page);
                }
                let mut table = Table::new(
                    &["NAME", "PATHS", "VERSIONS", "DAYS", "DELETED", "HOLD", "DESCRIPTION"],
                    "there are none: everything is kept",
                );
                for item in items(&page) {
                    let of = |what| field(item, what);
                    let hold = if item["hold"] == true { "yes" } else { "" };
                    table.row([
                        of("name"),
                        of("paths"),
                        of("keep_versions"),
                        of("keep_days"),
                        of("deleted_days"),
                        hold.to_owned(),
                        of("description"),
                    ]);
                }
                out.table(&table)
            }
            Action::Delete { name } => {
                let call = Call::delete(at("retention/rules", name.as_str()));
                let answer = session.send(call).await?;
                out.done(&answer.json()?, format!("retention rule {name} is removed"))
            }
            Action::Plan => tell(session, &walk(session, false).await?, "nothing is due"),
            Action::Apply { yes } => {
                confirm(yes, "Destroy what is due, for good?")?;
                tell(session, &walk(session, true).await?, "nothing was due")
            }
        }
    }
}

/// All pages, in the form of one.
async fn walk(session: &Session, carry_out: bool) -> Result<Value, Failure> {
    let progress = Progress::new(session.output, 0);
    let walked = pages_of(session, carry_out).await;
    progress.end();
    walked
}

async fn pages_of(session: &Session, carry_out: bool) -> Result<Value, Failure> {
    let (mut gone, mut kept, mut looked_at) = (Vec::new(), Vec::new(), 0);
    let mut after: Option<String> = None;
    loop {
        let call = match carry_out {
            true => {
                let body = json!({"limit": 500, "after": after});
                Call::post("/v1/retention/apply").json(&body)?
            }
            false => Call::get("/v1/retention/plan")
                .query("limit", Some(500))
                .query("after", after.as_ref()),
        };
        let mut page = session.send(call).await?.json()?;
        for (into, name) in [(&mut gone, "items"), (&mut kept, "kept")] {
            if let Value::Array(more) = page[name].take() {
                into.extend(more);
            }
        }
        looked_at += page["looked_at"].as_u64().unwrap_or(0);
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            let next = Value::Null;
            return Ok(json!({"items": gone, "kept": kept, "looked_at": looked_at, "next": next}));
        }
    }
}

fn tell(session: &Session, walked: &Value, nothing: &'static str) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        out.value(walked)?;
    } else {
        let mut table = Table::new(&["PATH", "WHAT GOES", "RULE"], nothing);
        for item in items(walked) {
            let what = match item["credential"] == true {
                true => "the credential".to_owned(),
                false => format!("versions {}", field(item, "versions")),
            };
            table.row([field(item, "path"), what, field(item, "rule")]);
        }
        out.table(&table)?;
        for kept in walked["kept"].as_array().into_iter().flatten() {
            out.note(format!("kept: {}: {}", field(kept, "path"), field(kept, "why")));
        }
    }
    match walked["kept"].as_array().map_or(0, Vec::len) {
        0 => Ok(()),
        kept => Err(Failure::new(Exit::Partial, format!("{kept} credentials keep what is due"))
            .hint("they come up again; `pentad rotations` shows what is under way")),
    }
}
