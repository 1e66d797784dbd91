use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pentad_model::{Path, rotation::Strategy};
use serde_json::{Value, json};

use super::{Filter, Paging, items, pages, put::strategy, seconds};
use crate::{
    client::Call,
    failure::{Exit, Failure},
    output::{Table, Tone, field, printable},
    progress::Progress,
    session::Session,
};

/// How often a rotation is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// More rotations than this are not told step by step where there is no terminal.
const TOLD: usize = 20;

/// Rotate credentials, and watch until they are proven at their targets
///
/// Each gets a new value, which is set at the target, proven there, promoted, and the old one is
/// refused from then on. Interrupting this program does not interrupt a server's rotations.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad rotate prod/orders/db
  pentad rotate prod/orders/db --plan
  pentad rotate --prefix prod/ --tag env=prod
  pentad rotate --target pg --no-wait --json")]
pub(super) struct Args {
    /// Which
    #[arg(required_unless_present_any = ["prefix", "kind", "tag", "target"])]
    paths: Vec<Path>,
    #[command(flatten)]
    filter: Filter,
    /// Show what would happen; nothing is touched
    #[arg(long)]
    plan: bool,
    /// in_place, overlap or alternating, instead of the one that would be chosen
    #[arg(long, value_parser = strategy)]
    strategy: Option<Strategy>,
    /// Return as soon as the rotations are accepted
    #[arg(long)]
    no_wait: bool,
    /// Watch for so long at most
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "10m")]
    timeout: u64,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if !self.paths.is_empty() && !self.filter.is_empty() {
            return Err(Failure::usage("name paths or filter, not both"));
        }
        if self.no_wait && !self.plan && !session.client().await?.outlives_us() {
            return Err(Failure::usage("without a server nothing would carry the rotation on")
                .hint("leave --no-wait away, or start `pentad server` and set PENTAD_ADDR"));
        }
        let mut body = json!({"dry_run": self.plan});
        match self.paths.is_empty() {
            false => body["paths"] = json!(self.paths),
            true => {
                let mut filter = json!({"prefix": self.filter.prefix.clone().unwrap_or_default()});
                if let Some(kind) = self.filter.kind {
                    filter["kind"] = json!(kind);
                }
                if let Some(tag) = &self.filter.tag {
                    filter["tag"] = json!(tag);
                }
                if let Some(target) = &self.filter.target {
                    filter["target"] = json!(target);
                }
                body["filter"] = filter;
            }
        }
        if let Some(strategy) = self.strategy {
            body["strategy"] = json!(strategy);
        }
        let answer = session.send(Call::post("/v1/rotations").json(&body)?).await?.json()?;
        if self.plan {
            return plan(session, &answer);
        }
        let out = session.output;
        for refused in answer["refused"].as_array().into_iter().flatten() {
            out.complain(format!(
                "{}: {}",
                out.paint(Tone::Bad, &field(refused, "path")),
                field(refused, "reason")
            ));
        }
        let refused = answer["refused"].as_array().map_or(0, Vec::len);
        if self.no_wait {
            match out.json {
                true => out.value(&answer)?,
                false => out.line(format!("batch {}", field(&answer, "batch")))?,
            }
            return ending(&Value::Null, refused, true);
        }
        watch(session, &answer, Duration::from_secs(self.timeout)).await
    }
}

/// Looks at a batch until all of it has ended.
async fn watch(session: &Session, started: &Value, within: Duration) -> Result<(), Failure> {
    let out = session.output;
    let batch = field(started, "batch");
    let total = started["rotations"].as_array().map_or(0, Vec::len);
    let refused = started["refused"].as_array().map_or(0, Vec::len);
    let progress = Progress::new(out, total);
    let begun = Instant::now();
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let last = loop {
        let page = match total {
            0 => json!({"items": []}),
            _ => {
                pages(session, &Paging::default(), "before", || {
                    Call::get("/v1/rotations").query("batch", Some(&batch))
                })
                .await?
            }
        };
        let ended = items(&page).filter(|rotation| rotation["ended"] == true).count();
        // They come newest first; people follow them in the order in which they go.
        for rotation in page["items"].as_array().into_iter().flatten().rev() {
            let (path, step) = (field(rotation, "path"), field(rotation, "step"));
            let reason = field(rotation, "reason");
            let now = match reason.is_empty() {
                true => step.clone(),
                false => format!("{step}: {reason}"),
            };
            if told.get(&path) == Some(&now) {
                continue;
            }
            progress.at(ended, &format!("{path} {step}"));
            let ended_badly = rotation["ended"] == true && step != "done";
            let line = format!("{path}  {}", printable(&now));
            match ended_badly {
                true => progress.complain(&line),
                false if total <= TOLD => progress.say(&line),
                false => {}
            }
            told.insert(path, now);
        }
        progress.at(ended, "");
        if ended >= total || begun.elapsed() > within {
            break page;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = &mut interrupted => {
                // Without a server the agents stop in good order now; a second time ends it at once,
                // and the next start finishes what was begun.
                tokio::spawn(async {
                    let _ = tokio::signal::ctrl_c().await;
                    std::process::exit(130);
                });
                break page;
            }
        }
    };
    progress.end();
    let count = |step: &str| items(&last).filter(|rotation| rotation["step"] == step).count();
    let (done, diverged) = (count("done"), count("diverged"));
    let ended = items(&last).filter(|rotation| rotation["ended"] == true).count();
    if out.json {
        out.value(&last)?;
    } else {
        let seconds = begun.elapsed().as_secs_f64();
        let mut line = format!("{done} of {} rotated in {seconds:.1} s", total + refused);
        for (step, many) in [
            ("rolled back", count("rolled_back")),
            ("failed", count("failed")),
            ("diverged", diverged),
            ("under way", total - ended.min(total)),
            ("refused", refused),
        ] {
            if many > 0 {
                line.push_str(&format!(", {many} {step}"));
            }
        }
        out.line(line)?;
    }
    ending(&last, refused, session.client().await?.outlives_us())
}

/// What became of a batch, as an exit code and a next step. The gravest comes first.
fn ending(rotations: &Value, refused: usize, served: bool) -> Result<(), Failure> {
    let with = |step: &str| items(rotations).filter(|one| one["step"] == step).collect::<Vec<_>>();
    if let [first, ..] = with("diverged").as_slice() {
        let (many, id) = (with("diverged").len(), field(first, "id"));
        return Err(Failure::new(Exit::Diverged, format!("{many} diverged: nothing was lost")).hint(
            format!(
                "`pentad rotation show {id}` says what was seen, `pentad rotation resolve {id}` \
                 decides; `pentad rotations --step diverged` lists all"
            ),
        ));
    }
    let under_way = items(rotations).filter(|one| one["ended"] != true).count();
    if under_way > 0 {
        return Err(Failure::unavailable(format!("{} still under way", are(under_way)))
            .hint(match served {
                true => "they go on at the server; `pentad rotations --unfinished` shows why they wait",
                false => "the next command, or `pentad server`, goes on with them; `pentad rotations \
                          --unfinished` shows why they wait",
            }));
    }
    let failed: Vec<_> = items(rotations).filter(|one| one["step"] != "done").collect();
    if failed.len() + refused == 0 {
        return Ok(());
    }
    let mut targets: Vec<String> = failed.iter().map(|one| field(one, "target")).collect();
    targets.dedup();
    let hint = match targets.as_slice() {
        [target] => format!(
            "mend what stands above and rotate again; `pentad target check {target}` says what is \
             missing there"
        ),
        [] => "each reason stands above; `pentad list` shows what there is".to_owned(),
        _ => "each reason stands above; `pentad rotations` has them too".to_owned(),
    };
    let many = failed.len() + refused;
    Err(Failure::new(Exit::Partial, format!("{} not rotated", were(many))).hint(hint))
}

fn were(many: usize) -> String {
    if many == 1 { "1 was".to_owned() } else { format!("{many} were") }
}

fn are(many: usize) -> String {
    if many == 1 { "1 is".to_owned() } else { format!("{many} are") }
}

fn plan(session: &Session, plan: &Value) -> Result<(), Failure> {
    let out = session.output;
    if out.json {
        return out.value(plan);
    }
    let head = &["GROUP", "PATH", "TARGET", "STRATEGY", "FROM", "TO ACCOUNT", "CAN'T BE UNDONE"];
    let mut table = Table::new(head, "nothing would be rotated");
    for (group, planned) in plan["groups"].as_array().into_iter().flatten().enumerate() {
        for one in planned.as_array().into_iter().flatten() {
            table.row([
                (group + 1).to_string(),
                field(one, "path"),
                field(one, "target"),
                format!("{} ({})", field(one, "strategy"), field(one, "because")),
                format!("v{} {}", field(one, "from_version"), field(one, "from_account")),
                field(one, "to_account"),
                field(one, "point_of_no_return"),
            ]);
        }
    }
    out.table(&table)?;
    let planned = || plan["groups"].as_array().into_iter().flatten().filter_map(Value::as_array).flatten();
    let mut targets: Vec<String> = planned().map(|one| field(one, "target")).collect();
    targets.sort_unstable();
    targets.dedup();
    if let [target] = targets.as_slice() {
        out.note(format!("nothing was touched or asked there: `pentad target check {target}` does"));
    }
    for refused in plan["refused"].as_array().into_iter().flatten() {
        let path = out.paint(Tone::Bad, &field(refused, "path"));
        out.line(format!("{path}: {}", field(refused, "reason")))?;
    }
    Ok(())
}
