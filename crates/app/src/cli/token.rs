use clap::Subcommand;
use pentad_model::{Id, Name};
use serde_json::json;

use super::{Paging, items, pages, seconds};
use crate::{
    client::Call,
    failure::Failure,
    output::{Table, field, moment},
    session::Session,
    value::Issued,
};

/// Tokens: what programs authenticate with
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; it is shown this once, alone on standard output
    #[command(after_help = "Examples:
  pentad token create ci --role reader --ttl 90d
  pentad token create ops --role operator --role auditor")]
    Create {
        /// A name for people
        name: Name,
        /// A role that it has
        #[arg(long, required = true)]
        role: Vec<Name>,
        /// How long it is good for; for ever without it
        #[arg(long, value_name = "DURATION", value_parser = seconds)]
        ttl: Option<u64>,
    },
    /// List tokens, never the tokens themselves
    #[command(after_help = "Example:\n  pentad token list")]
    List(Paging),
    /// Revoke a token, at once
    #[command(after_help = "Example:\n  pentad token revoke 019a0000-0000-7000-8000-000000000000")]
    Revoke { id: Id },
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Create { name, role, ttl } => {
                let mut body = json!({"name": name, "roles": role});
                if let Some(ttl) = ttl {
                    body["ttl_seconds"] = json!(ttl);
                }
                let answer = session.send(Call::post("/v1/tokens").json(&body)?).await?;
                if out.json {
                    out.raw(answer.bytes())?;
                    return out.raw(b"\n");
                }
                let token = answer.parse::<Issued>()?.into_secret();
                out.raw(token.expose())?;
                out.raw(b"\n")?;
                out.note("keep it: it is not shown again");
                Ok(())
            }
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/tokens")).await?;
                if out.json {
                    return out.value(&page);
                }
                let head = &["ID", "NAME", "USER", "ROLES", "CREATED", "EXPIRES", "REVOKED"];
                let mut table = Table::new(head, "there are none");
                for item in items(&page) {
                    table.row([
                        field(item, "id"),
                        field(item, "name"),
                        field(item, "user"),
                        field(item, "roles"),
                        moment(item, "created_at"),
                        moment(item, "expires_at"),
                        moment(item, "revoked_at"),
                    ]);
                }
                out.table(&table)
            }
            Action::Revoke { id } => {
                let answer = session.send(Call::delete(format!("/v1/tokens/{id}"))).await?;
                out.done(&answer.json()?, format!("token {id} is revoked"))
            }
        }
    }
}
