//! The `pentad` program: one thin client of the HTTP API, and the server behind it.
//!
//! ```text
//! main ─▶ hardening ─▶ cli/<verb>.rs ─▶ client ─┬─▶ network: PENTAD_ADDR
//!                                              └─▶ in process: wiring opens the store, starts the
//!                                                  five agents, and calls the same router
//! pentad server ─▶ wiring ─▶ server: the router behind TCP and TLS
//! ```
//!
//! What always holds:
//!
//! * Only this crate reads the environment and configuration files.
//! * A value is never taken from a command line: other users can read those.
//! * A failure is one line, a hint that names the next step, and an exit code of [`failure::Exit`].
//!
//! **To add a command:** `cli/<verb>.rs` with an `Args` that has examples and a `run`, and its line
//! in the registry in [`cli`]. Help, completion and the tests follow.

use std::process::ExitCode;

mod cli;
mod client;
mod config;
mod credentials_file;
mod failure;
mod hardening;
mod output;
mod passphrase;
mod policy_file;
mod progress;
mod server;
mod session;
mod telemetry;
mod value;
mod wiring;

fn main() -> ExitCode {
    hardening::apply();
    // One provider for every connection, whatever a dependency would have chosen. It fails only if
    // there is one already, and there can be none before this line.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::main()
}
