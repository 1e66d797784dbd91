use clap::Subcommand;
use pentad_model::Name;
use serde::Serialize;

use super::{Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::{Table, field, moment},
    session::Session,
    value::Source,
};

/// Users: people who log in with a password
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a user, or set one's password and roles; the password is asked for or piped in
    #[command(after_help = "Example:\n  pentad user put ann --role operator")]
    Put {
        /// The user's name
        name: Name,
        #[command(flatten)]
        source: Source,
        /// A role that the user has
        #[arg(long, required = true)]
        role: Vec<Name>,
    },
    /// List users
    #[command(after_help = "Example:\n  pentad user list")]
    List(Paging),
    /// Remove a user
    #[command(after_help = "Example:\n  pentad user delete ann")]
    Delete { name: Name },
    /// Let a user who was locked out try again
    #[command(after_help = "Example:\n  pentad user unlock ann")]
    Unlock { name: Name },
}

#[derive(Serialize)]
struct NewUser<'a> {
    password: &'a str,
    roles: &'a [Name],
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let out = session.output;
        match self.action {
            Action::Put { name, source, role } => {
                let password = source.read(&format!("Password of {name}"))?.ok_or_else(|| {
                    Failure::usage("people choose their password: it is not made for them")
                })?;
                let password = password
                    .expose_str()
                    .ok_or_else(|| Failure::usage("a password is UTF-8 text"))?;
                let body = NewUser { password, roles: &role };
                let answer = session.send(Call::put(at("users", name.as_str())).json(&body)?).await?;
                out.done(&answer.json()?, format!("user {name} is stored"))
            }
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/users")).await?;
                if out.json {
                    return out.value(&page);
                }
                let head = &["NAME", "ROLES", "FAILURES", "LOCKED UNTIL", "CREATED"];
                let mut table = Table::new(head, "there are none; `pentad user put` makes one");
                for item in items(&page) {
                    table.row([
                        field(item, "name"),
                        field(item, "roles"),
                        field(item, "failures"),
                        moment(item, "locked_until"),
                        moment(item, "created_at"),
                    ]);
                }
                out.table(&table)
            }
            Action::Delete { name } => {
                let answer = session.send(Call::delete(at("users", name.as_str()))).await?;
                out.done(&answer.json()?, format!("user {name} is removed"))
            }
            Action::Unlock { name } => {
                let answer = session.send(Call::post(format!("{}/unlock", at("users", name.as_str())))).await?;
                out.done(&answer.json()?, format!("user {name} may try again"))
            }
        }
    }
}
