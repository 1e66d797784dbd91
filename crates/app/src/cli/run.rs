use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    process::Command,
};

use pentad_model::Path;

use super::get::{member, read};
use crate::{
    failure::{Exit, Failure},
    hardening,
    session::Session,
    value::Reading,
};

/// Run a program with values in its environment
///
/// The program replaces this one: its exit code and its signals are its own. The values are in its
/// environment only, which its user and root can read; they stand in no list of processes.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad run --env DB_PASSWORD=prod/orders/db -- ./server
  pentad run --env PGUSER=prod/pg#user --env PGPASSWORD=prod/pg#password -- psql -h db.internal")]
pub(super) struct Args {
    /// A variable, and the credential whose value it gets; #MEMBER takes one of a value that is JSON
    #[arg(long, value_name = "NAME=PATH[#MEMBER]", value_parser = wanted, required = true)]
    env: Vec<Wanted>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Debug)]
struct Wanted {
    name: String,
    path: Path,
    member: Option<String>,
}

fn wanted(text: &str) -> Result<Wanted, String> {
    let (name, rest) = text.split_once('=').ok_or("expected NAME=PATH")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a variable's name has letters, digits and _ only".to_owned());
    }
    let (path, member) = match rest.split_once('#') {
        Some((path, member)) => (path, Some(member.to_owned())),
        None => (rest, None),
    };
    let path = path.parse().map_err(|error| format!("{error}"))?;
    Ok(Wanted { name: name.to_owned(), path, member })
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut words = self.command.iter();
        let Some(program) = words.next() else { return Err(Failure::usage("name a program")) };
        let mut command = Command::new(program);
        command.args(words).env_remove("PENTAD_TOKEN");
        for wanted in &self.env {
            let reading: Reading = read(session, &wanted.path, None).await?.parse()?;
            let value = reading.into_secret()?;
            let value = match &wanted.member {
                Some(name) => member(&wanted.path, &value, name)?,
                None => value,
            };
            if value.expose().contains(&0) {
                return Err(Failure::usage(format!(
                    "the value of {} holds a zero byte: it can't stand in an environment",
                    wanted.path
                ))
                .hint("write it to a file with `pentad get`"));
            }
            command.env(&wanted.name, OsStr::from_bytes(value.expose()));
        }
        // What was read is on record before the program sees it; the store is let go of.
        session.close().await;
        hardening::undo_for_exec();
        let error = command.exec();
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::Missing,
            _ => Exit::Internal,
        };
        Err(Failure::new(exit, format!("{}: {error}", program.to_string_lossy())))
    }
}
