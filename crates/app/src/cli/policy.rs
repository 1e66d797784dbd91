use std::path::PathBuf;

use clap::Subcommand;
use pentad_model::Name;
use serde_json::{Map, Value};

use super::{Paging, items, pages};
use crate::{
    client::{Call, at},
    failure::Failure,
    output::{Table, field},
    policy_file::PolicyFile,
    session::Session,
};

/// Credential policies: what a value must be to be accepted
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make or replace a policy; credentials obey it that name it with `put --policy`
    #[command(after_help = "Examples:
  pentad policy put strict --min-length 24 --require-numbers --require-special-chars
  pentad policy put short-pins --kind password --min-length 15 --max-length 64
  pentad put prod/orders/db --policy strict --generate")]
    Put(Box<Content>),
    /// Run the tests that policy files hold; nothing is stored
    #[command(after_help = "Example:
  pentad policy test strict.toml

A file:
  name = \"strict\"
  min_length = 20
  words = [\"Nordlicht\"]

  [[tests]]
  value = \"n0rdl1cht-2026-n0rdl1cht\"
  accepted = false
  because = \"patterns\"")]
    Test {
        /// Policies in TOML
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make or replace policies from files, if their own tests pass
    #[command(after_help = "Example:\n  pentad policy apply strict.toml")]
    Apply {
        /// Policies in TOML; see `pentad policy test --help`
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List the policies that were made; every kind has a built-in one besides
    #[command(after_help = "Example:\n  pentad policy list")]
    List(Paging),
    /// Remove a policy; credentials that name it take no new value until they name another
    #[command(after_help = "Example:\n  pentad policy delete strict")]
    Delete {
        /// Its name
        name: Name,
    },
}

#[derive(Debug, clap::Args)]
struct Content {
    /// Its name
    name: Name,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Judge this kind only; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Characters at least
    #[arg(long, value_name = "N")]
    min_length: Option<usize>,
    /// Characters at most
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Ask for an upper-case letter
    #[arg(long)]
    require_uppercase: bool,
    /// Ask for a lower-case letter
    #[arg(long)]
    require_lowercase: bool,
    /// Ask for a digit
    #[arg(long)]
    require_numbers: bool,
    /// Ask for a character that is neither letter nor digit
    #[arg(long)]
    require_special_chars: bool,
    /// Estimated guesses at least, as a power of ten, for what people choose
    #[arg(long, value_name = "N")]
    min_guesses_log10: Option<f64>,
    /// Entropy in bits at least, for what nobody chooses
    #[arg(long, value_name = "BITS")]
    min_entropy_bits: Option<f64>,
    /// Earlier versions whose value may not return
    #[arg(long, value_name = "N")]
    history: Option<u32>,
    /// A word that no value may be built on, such as a product's name; may be repeated
    #[arg(long = "word", value_name = "WORD")]
    words: Vec<String>,
    /// Refuse a value that another credential has
    #[arg(long)]
    forbid_shared: bool,
}

impl Content {
    /// What was said, in the API's words; what was not keeps its default.
    fn said(&self) -> Map<String, Value> {
        let flag = |on: bool| on.then_some(Value::Bool(true));
        let list = |of: &Vec<String>| (!of.is_empty()).then(|| Value::from(of.clone()));
        let kinds = list(&self.kinds);
        [
            ("description", self.description.clone().map(Value::from)),
            ("kinds", kinds),
            ("min_length", self.min_length.map(Value::from)),
            ("max_length", self.max_length.map(Value::from)),
            ("require_uppercase", flag(self.require_uppercase)),
            ("require_lowercase", flag(self.require_lowercase)),
            ("require_numbers", flag(self.require_numbers)),
            ("require_special_chars", flag(self.require_special_chars)),
            ("min_guesses_log10", self.min_guesses_log10.map(Value::from)),
            ("min_entropy_bits", self.min_entropy_bits.map(Value::from)),
            ("history", self.history.map(Value::from)),
            ("words", list(&self.words)),
            ("forbid_shared", flag(self.forbid_shared)),
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
            Action::Put(content) => {
                let call = Call::put(at("policies", content.name.as_str())).json(&content.said())?;
                let answer = session.send(call).await?;
                out.done(&answer.json()?, format!("policy {} is stored", content.name))
            }
            Action::Test { files } => {
                for file in files {
                    let (name, tests) = tested(&file).map(|(file, tests)| (file.policy.name, tests))?;
                    out.line(format!("policy {name}: {tests} tests passed"))?;
                }
                Ok(())
            }
            Action::Apply { files } => {
                // All of them pass before the first is stored.
                let files = files.iter().map(|file| tested(file)).collect::<Result<Vec<_>, _>>()?;
                for (file, tests) in files {
                    let name = &file.policy.name;
                    let call = Call::put(at("policies", name.as_str())).json(&file.said)?;
                    session.send(call).await?;
                    out.line(format!("policy {name} is stored ({tests} tests passed)"))?;
                }
                Ok(())
            }
            Action::List(paging) => {
                let page = pages(session, &paging, "after", || Call::get("/v1/policies")).await?;
                if out.json {
                    return out.value(&page);
                }
                let mut table = Table::new(
                    &["NAME", "LENGTH", "GUESSES", "ENTROPY", "HISTORY", "DESCRIPTION"],
                    "there are none; every kind has a built-in one",
                );
                for item in items(&page) {
                    let of = |what| field(item, what);
                    table.row([
                        of("name"),
                        of("min_length"),
                        of("min_guesses_log10"),
                        of("min_entropy_bits"),
                        of("history"),
                        of("description"),
                    ]);
                }
                out.table(&table)
            }
            Action::Delete { name } => {
                let answer = session.send(Call::delete(at("policies", name.as_str()))).await?;
                out.done(&answer.json()?, format!("policy {name} is removed"))
            }
        }
    }
}

/// A policy file whose tests passed, and how many these are.
fn tested(file: &std::path::Path) -> Result<(PolicyFile, usize), Failure> {
    let read = PolicyFile::read(file)?;
    let tests = read.test()?;
    Ok((read, tests))
}
