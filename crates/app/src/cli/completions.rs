use clap_complete::Shell;

use crate::{failure::Failure, session::Session};

/// Print a script that completes commands in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad completions bash > /etc/bash_completion.d/pentad
  pentad completions zsh > ~/.zfunc/_pentad
  pentad completions fish > ~/.config/fish/completions/pentad.fish")]
pub(super) struct Args {
    /// Which shell
    shell: Shell,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::tree(), "pentad", &mut script);
        session.output.raw(&script)
    }
}
