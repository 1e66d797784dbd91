//! The commands. Each is one file: its arguments, its help with examples, and what it asks the API.
//!
//! To add one: write `<verb>.rs` with an `Args` and a `run`, and its line in [`commands!`] below.

use std::{ffi::OsStr, io::Write as _, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::Value;

use crate::{
    client::Call,
    config::{Config, Hidden},
    failure::{EXIT_CODES, Exit, Failure},
    output::Output,
    session::Session,
    telemetry,
};

/// A self-hosted manager of credentials: stores them sealed, rotates them at their systems, and
/// proves who did what
#[derive(Debug, Parser)]
#[command(
    name = "pentad",
    version,
    max_term_width = 100,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = concat!(
        "Without PENTAD_ADDR, commands work on the store's directory itself, in this process.\n\
         \n\
         Examples:\n  \
           pentad init\n  \
           pentad server &\n  \
           export PENTAD_ADDR=http://127.0.0.1:8277 PENTAD_TOKEN=…\n  \
           pentad put prod/orders/db --kind database --generate\n  \
           pentad rotate prod/orders/db\n\
         \n\
         `pentad help exit-codes` lists what the exit codes mean."
    )
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// The API's JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    /// No progress and no remarks
    #[arg(long, short, global = true)]
    quiet: bool,
    /// The server to talk to [env: PENTAD_ADDR]
    #[arg(long, global = true, value_name = "URL")]
    addr: Option<String>,
    /// Whose credentials [env: PENTAD_TENANT]
    #[arg(long, global = true, value_name = "NAME")]
    tenant: Option<String>,
    /// The store's directory, to work in without a server [env: PENTAD_DIR]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "addr")]
    dir: Option<PathBuf>,
    /// The database that the store is in, without its password: see `pentad config example`
    /// [env: PENTAD_STORE]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "addr")]
    store: Option<String>,
    /// The configuration file [env: PENTAD_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Declares the commands: the module, its variant, and how it is run.
macro_rules! commands {
    ($($variant:ident => $module:ident),+ $(,)?) => {
        $(mod $module;)+

        #[derive(Debug, Subcommand)]
        enum Command {
            $($variant($module::Args),)+
        }

        impl Command {
            async fn run(self, session: &Session) -> Result<(), Failure> {
                match self {
                    $(Self::$variant(args) => args.run(session).await,)+
                }
            }
        }
    };
}

commands! {
    Init => init,
    Server => server,
    Put => put,
    Import => import,
    Export => export,
    Get => get,
    List => list,
    Describe => describe,
    History => history,
    Delete => delete,
    Restore => restore,
    Destroy => destroy,
    Adopt => adopt,
    Run => run,
    Sign => sign,
    Verify => verify,
    Encrypt => encrypt,
    Decrypt => decrypt,
    PublicKey => public_key,
    Rotate => rotate,
    Rotations => rotations,
    Rotation => rotation,
    Check => check,
    Compliance => compliance,
    Probe => probe,
    Target => target,
    Agents => agents,
    Audit => audit,
    Token => token,
    User => user,
    Role => role,
    Policy => policy,
    Retention => retention,
    Erase => erase,
    Tenant => tenant,
    Login => login,
    Whoami => whoami,
    Kinds => kinds,
    Connectors => connectors,
    Backup => backup,
    Store => store,
    Config => config,
    Bench => bench,
    Completions => completions,
}

/// What is logged of work in this process, unless told otherwise. What the router would log of a
/// failed request, and the lower parts of a full disk, the command says itself.
const QUIET: &str = "warn,pentad_api::problem=off,\
    pentad_agents::system=error,pentad_agents::monitoring=error,\
    pentad_store::sqlite::reserve=error,pentad_store::sqlite::writer=error,\
    pentad_store::audit::reserve=error,pentad_store::audit::writer=error";

/// Parses, runs, and turns what happened into an exit code.
pub(crate) fn main() -> ExitCode {
    if asks_for_exit_codes() {
        let _ = writeln!(std::io::stdout(), "{EXIT_CODES}");
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    // One more than can run at a time: brief requests of agents are carried out on all but one.
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.run(output));
            // A blocked read of standard input must not keep the program.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::file("no thread to run on", &error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure, output),
    }
}

impl Cli {
    async fn run(self, output: Output) -> Result<(), Failure> {
        let mut config = Config::load(self.global.config.as_deref())?;
        if let Some(dir) = self.global.dir {
            config.store.dir = dir;
            config.client.address.clear();
        }
        if let Some(store) = self.global.store {
            config.store.address = Hidden(store);
            config.client.address.clear();
        }
        if let Some(address) = self.global.addr {
            config.client.address = address;
        }
        if let Some(tenant) = self.global.tenant {
            config.client.tenant = tenant;
        }
        if let Command::Server(args) = &self.command {
            args.settle(&mut config);
        } else {
            let level = Some(config.log.level.as_str()).filter(|level| !level.is_empty());
            telemetry::start(level.unwrap_or(QUIET), config.log.format, None)?;
        }
        let session = Session::new(config, output);
        let done = self.command.run(&session).await;
        session.close().await;
        done
    }
}

/// Clap prints help to standard output, errors to standard error; code 2 for these. Its last line
/// becomes the next step: the help of the command that was meant, which has examples.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(u8::from(error.use_stderr()) * Exit::Usage as u8);
    }
    let tree = tree();
    let (mut command, mut meant) = (&tree, "pentad".to_owned());
    for argument in std::env::args_os().skip(1) {
        if let Some(inner) = command.find_subcommand(&argument) {
            meant = format!("{meant} {}", inner.get_name());
            command = inner;
        }
    }
    let mut text = match Output::colours(&std::io::stderr()) {
        true => error.render().ansi().to_string(),
        false => error.render().to_string(),
    };
    if let Some(at) = text.find("For more information") {
        text.truncate(at);
    }
    // A slip such as `gte` is too short for Clap's measure.
    if let (Some(ContextValue::String(given)), None) = (
        error.get(ContextKind::InvalidSubcommand),
        error.get(ContextKind::SuggestedSubcommand),
    ) {
        let distance = |name: &str| strsim::damerau_levenshtein(given, name);
        let names = command.get_subcommands().map(clap::Command::get_name);
        if let Some(near) = names
            .filter(|name| distance(name) <= 2)
            .min_by_key(|it| distance(it))
        {
            text.push_str(&format!("hint: did you mean `{meant} {near}`?\n"));
            let _ = write!(std::io::stderr(), "{text}");
            return ExitCode::from(Exit::Usage as u8);
        }
    }
    text.push_str(&format!("hint: `{meant} --help` has examples\n"));
    let _ = write!(std::io::stderr(), "{text}");
    ExitCode::from(Exit::Usage as u8)
}

fn asks_for_exit_codes() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().as_deref() == Some(OsStr::new("help"))
        && arguments.next().as_deref() == Some(OsStr::new("exit-codes"))
}

fn report(failure: &Failure, output: Output) -> ExitCode {
    if failure.exit != Exit::Silent {
        let mut err = std::io::stderr().lock();
        // Nobody to tell if this fails.
        let _ = match (&failure.problem, output.json) {
            (Some(problem), true) => writeln!(err, "{problem}"),
            (None, true) => {
                let problem = serde_json::json!({
                    "title": "pentad",
                    "detail": failure.message,
                    "hint": failure.hint,
                });
                writeln!(err, "{problem}")
            }
            (_, false) => {
                writeln!(err, "pentad: {}", failure.message).and_then(|()| match &failure.hint {
                    Some(hint) => writeln!(err, "hint: {hint}"),
                    None => Ok(()),
                })
            }
        };
    }
    ExitCode::from(failure.exit as u8)
}

/// The whole command tree, for completions and tests.
fn tree() -> clap::Command {
    Cli::command()
}

// ---- what several commands share ------------------------------------------------------------------

/// Which credentials: what `list`, `check` and `rotate` filter by.
#[derive(Debug, Default, clap::Args)]
struct Filter {
    /// Only paths that begin so
    #[arg(long, value_name = "PATH")]
    prefix: Option<String>,
    /// Only this kind; `pentad kinds` lists them
    #[arg(long, value_parser = pentad_model::Kind::from_str)]
    kind: Option<pentad_model::Kind>,
    /// Only with this tag, or with this value of it
    #[arg(long, value_name = "KEY[=VALUE]")]
    tag: Option<String>,
    /// Only those that are rotated at this target
    #[arg(long, value_name = "NAME")]
    target: Option<pentad_model::Name>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.prefix.is_none() && self.kind.is_none() && self.tag.is_none() && self.target.is_none()
    }

    fn on(&self, call: Call) -> Call {
        call.query("prefix", self.prefix.as_ref())
            .query("kind", self.kind)
            .query("tag", self.tag.as_ref())
            .query("target", self.target.as_ref())
    }
}

/// How much of a listing.
#[derive(Debug, Default, clap::Args)]
struct Paging {
    /// At most so many, from one page; without it all pages are followed
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: Option<u16>,
    /// Go on after this one, which an earlier page named as `next`
    #[arg(long, value_name = "CURSOR", requires = "limit")]
    after: Option<String>,
}

/// Items of all pages, in the form of one page.
async fn pages(
    session: &Session,
    paging: &Paging,
    cursor: &'static str,
    call: impl Fn() -> Call,
) -> Result<Value, Failure> {
    let mut next = paging.after.clone();
    let mut items = Vec::new();
    loop {
        let limit = paging.limit.unwrap_or(1000);
        let call = call()
            .query("limit", Some(limit))
            .query(cursor, next.as_ref());
        let mut page = session.send(call).await?.json()?;
        if let Value::Array(more) = page["items"].take() {
            items.extend(more);
        }
        next = page["next"].as_str().map(str::to_owned);
        if paging.limit.is_some() || next.is_none() {
            return Ok(serde_json::json!({"items": items, "next": next}));
        }
    }
}

/// The items of a page.
fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A duration: `90s`, `10m`, `12h`, `30d`, or plain seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a duration such as 90s, 10m, 12h or 30d".to_owned();
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => match &text[at..] {
            "s" => (&text[..at], 1),
            "m" => (&text[..at], 60),
            "h" => (&text[..at], 3600),
            "d" => (&text[..at], 86_400),
            _ => return Err(wrong()),
        },
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Asks before what can't be taken back, unless `--yes` says so already.
fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    use std::io::IsTerminal as _;
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::usage(format!("{question} There is no terminal to answer at"))
                .hint("add --yes if you are sure"),
        );
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::usage("nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn leaves(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
        let path = format!("{path} {}", command.get_name());
        let mut inner = command
            .get_subcommands()
            .filter(|c| c.get_name() != "help")
            .peekable();
        if inner.peek().is_none() {
            return visit(path.trim(), command);
        }
        inner.for_each(|inner| leaves(inner, &path, visit));
    }

    #[test]
    fn the_command_line_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_examples_of_itself() {
        let mut seen = 0;
        leaves(&tree(), "", &mut |path, command| {
            seen += 1;
            assert!(command.get_about().is_some(), "{path}: no description");
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.contains("Example"), "{path}: no example");
            let shown = help.contains(path);
            assert!(shown, "{path}: its examples don't show it:\n{help}");
        });
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn examples_parse() {
        leaves(&tree(), "", &mut |path, command| {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in help.lines().map(str::trim) {
                let Some(at) = line.find("pentad ") else {
                    continue;
                };
                let line = line.split(" #").next().unwrap();
                // A pipe's end, a comment or a redirection is the shell's.
                let words = line[at..]
                    .split(['|', '>', '<'])
                    .next()
                    .unwrap()
                    .replace('\'', "");
                let words: Vec<&str> = words
                    .split_whitespace()
                    .filter(|word| *word != "&")
                    .collect();
                if let Err(error) = tree().try_get_matches_from(&words) {
                    panic!("{path}: {line}: {error}");
                }
            }
        });
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        for bad in ["", "m", "1w", "-1s", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
