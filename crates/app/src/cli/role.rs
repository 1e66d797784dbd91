use clap::Subcommand;
use pentad_model::{Name, Path, Verb};
use serde_json::{Value, json};

use super::{Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::{Table, Tone, field},
    session::Session,
};

/// Roles: who may do what on which paths
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make or replace a role
    #[command(after_help = "Examples:
  pentad role put orders-ops --allow 'read,list,rotate:prod/orders/**'
  pentad role put auditors --allow 'audit,list:**' --deny 'list:hr/**'")]
    Put {
        /// Its name
        name: Name,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
        /// Allow these verbs on these paths
        #[arg(long, value_name = "VERBS:PATTERNS", value_parser = rule)]
        allow: Vec<(Vec<Verb>, Vec<String>)>,
        /// Deny them, whatever allows them
        #[arg(long, value_name = "VERBS:PATTERNS", value_parser = rule)]
        deny: Vec<(Vec<Verb>, Vec<String>)>,
    },
    /// List roles, the ready-made ones first
    #[command(after_help = "Example:\n  pentad role list")]
    List(Paging),
    /// Remove a role: whoever has it has that much less
    #[command(after_help = "Example:\n  pentad role delete orders-ops")]
    Delete { name: Name },
    /// Say why roles would or would not allow something
    #[command(after_help = "Example:\n  pentad role explain --role reader read prod/orders/db")]
    Explain {
        /// The roles together
        #[arg(long, required = true)]
        role: Vec<Name>,
        /// What
        verb: Verb,
        /// On what
        path: Path,
    },
}

/// `read,list:prod/**,test/**`.
fn rule(text: &str) -> Result<(Vec<Verb>, Vec<String>), String> {
    let (verbs, paths) = text.split_once(':').ok_or("expected VERBS:PATTERNS")?;
    let verbs = verbs
        .split(',')
        .map(|verb| verb.trim().parse::<Verb>().map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    Ok((verbs, paths.split(',').map(|path| path.trim().to_owned()).collect()))
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Put { name, description, allow, deny } => {
                let one = |effect: &str, (verbs, paths): &(Vec<Verb>, Vec<String>)| {
                    json!({"effect": effect, "verbs": verbs, "paths": paths})
                };
                let rules: Vec<Value> = deny
                    .iter()
                    .map(|rule| one("deny", rule))
                    .chain(allow.iter().map(|rule| one("allow", rule)))
                    .collect();
                if rules.is_empty() {
                    return Err(Failure::usage("a role without rules allows nothing")
                        .hint("add --allow 'read,list:prod/**'"));
                }
                let body = json!({"description": description, "rules": rules});
                let answer = session.send(Call::put(at("roles", name.as_str())).json(&body)?).await?;
                out.done(&answer.json()?, format!("role {name} is stored"))
            }
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/roles")).await?;
                if out.json {
                    return out.value(&page);
                }
                let mut table =
                    Table::new(&["NAME", "EFFECT", "VERBS", "PATHS", "DESCRIPTION"], "there are none");
                for item in items(&page) {
                    let (mut name, mut description) =
                        (field(item, "name"), field(item, "description"));
                    for rule in item["rules"].as_array().into_iter().flatten() {
                        let told = (std::mem::take(&mut name), std::mem::take(&mut description));
                        let of = |what| field(rule, what);
                        table.row([told.0, of("effect"), of("verbs"), of("paths"), told.1]);
                    }
                }
                out.table(&table)
            }
            Action::Delete { name } => {
                let answer = session.send(Call::delete(at("roles", name.as_str()))).await?;
                out.done(&answer.json()?, format!("role {name} is removed"))
            }
            Action::Explain { role, verb, path } => {
                let body = json!({"roles": role, "verb": verb, "path": path});
                let call = Call::post("/v1/roles/explain").json(&body)?;
                let decision = session.send(call).await?.json()?;
                if out.json {
                    return out.value(&decision);
                }
                let word = match decision["allowed"] == true {
                    true => out.paint(Tone::Good, "allowed"),
                    false => out.paint(Tone::Bad, "denied"),
                };
                out.line(format!("{word}: {}", field(&decision, "because")))
            }
        }
    }
}
