use pentad_model::Path;
use serde_json::{Value, json};

use super::{Filter, Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::{Exit, Failure},
    output::{Cell, Table, Tone, field},
    progress::Progress,
    session::Session,
};

/// Try stored values at their targets, by a login as a consumer's; nothing changes there
///
/// A random value must be refused beside it. What works is in doubt no more; what is refused has
/// drifted, and is in doubt from then on. A restore does this by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad probe prod/orders/db
  pentad probe --in-doubt
  pentad probe --in-doubt --prefix prod/")]
pub(super) struct Args {
    /// Which
    #[arg(required_unless_present = "in_doubt")]
    paths: Vec<Path>,
    /// All that are in doubt
    #[arg(long, conflicts_with = "paths")]
    in_doubt: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        if !self.in_doubt && !self.filter.is_empty() {
            return Err(Failure::usage("name paths, or --in-doubt with a filter"));
        }
        let mut paths: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        if self.in_doubt {
            let call = || self.filter.on(Call::get("/v1/credentials"));
            let all = pages(session, &Paging::default(), "after", call).await?;
            let doubtful = |it: &&Value| it["in_doubt"] == true && it["binding"].is_object();
            paths.extend(items(&all).filter(doubtful).map(|it| field(it, "path")));
        }
        let out = session.output;
        let progress = Progress::new(out, paths.len());
        let mut results = Vec::with_capacity(paths.len());
        for path in &paths {
            progress.at(results.len(), path);
            results.push(match session.send(Call::post(at("probe", path))).await {
                Ok(answer) => answer.json()?,
                // One that can't be tried, such as one that is being rotated, hinders no other.
                Err(failure) if paths.len() > 1 && failure.problem.is_some() => {
                    json!({"path": path, "login": "cant_tell", "note": failure.message})
                }
                Err(failure) => {
                    progress.end();
                    return Err(failure);
                }
            });
        }
        progress.end();
        let not = results.iter().filter(|it| it["login"] != "works").count();
        if out.json {
            out.value(&json!({"results": results, "not": not}))?;
        } else {
            let mut table = Table::new(&["PATH", "LOGIN", "NOTE"], "nothing is in doubt");
            for one in &results {
                let (tone, login) = match one["login"].as_str() {
                    Some("works") => (Tone::Good, "works"),
                    Some("fails") => (Tone::Bad, "drift"),
                    _ => (Tone::Doubtful, "can't tell"),
                };
                table.row([
                    Cell(Tone::Plain, field(one, "path")),
                    Cell(tone, login.to_owned()),
                    Cell(Tone::Plain, field(one, "note")),
                ]);
            }
            out.table(&table)?;
        }
        match not {
            0 => Ok(()),
            not => Err(Failure::new(
                Exit::Partial,
                format!("{not} of {} did not log in", results.len()),
            )
            .hint("`pentad adopt PATH` the value that works at the target")),
        }
    }
}
