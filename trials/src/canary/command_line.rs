//! The doors of the command line.

use std::{path::Path, process::Stdio};

use anyhow::{Context as _, Result, bail};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::{bait::Bait, doors::Doors};

impl Doors<'_> {
    /// The command line, over the server.
    pub async fn by_command_line(&mut self, work: &Path) -> Result<()> {
        let value = self.bait("a value from standard input");
        self.command(
            &["put", "canary/input", "--kind", "secret"],
            &value,
            Some(0),
        )
        .await?;
        let shown = self.command(&["get", "canary/input"], "", None).await?;
        if !shown.contains(&value) {
            bail!("`pentad get` did not show what was put");
        }
        let weak = self.dice.password().split_off(15);
        self.baits
            .push(Bait::kept("a weak value from standard input", &weak));
        self.command(
            &["put", "canary/weak", "--kind", "password"],
            &weak,
            Some(6),
        )
        .await?;
        let filed = self.bait("a value from a file");
        let file = work.join("input/value");
        tokio::fs::write(&file, &filed).await?;
        let file = file.to_string_lossy().into_owned();
        self.command(
            &[
                "put",
                "canary/file",
                "--kind",
                "secret",
                "--value-file",
                &file,
            ],
            "",
            Some(0),
        )
        .await?;
        let nowhere = self.bait("a value for a path that is none");
        self.command(&["put", "canary//x", "--kind", "secret"], &nowhere, None)
            .await
            .map(drop)
    }

    /// The command line, on the directory itself.
    pub async fn without_server(&mut self, _work: &Path) -> Result<()> {
        let value = self.bait("a value put without a server");
        self.command(
            &["put", "canary/local", "--kind", "secret"],
            &value,
            Some(0),
        )
        .await?;
        let weak = self.dice.password().split_off(15);
        self.baits
            .push(Bait::kept("a weak value put without a server", &weak));
        self.command(
            &["put", "canary/local2", "--kind", "password"],
            &weak,
            Some(6),
        )
        .await
        .map(drop)
    }

    /// Runs a command; with an exit code given, its output must hold no bait. Its output.
    async fn command(
        &mut self,
        arguments: &[&str],
        input: &str,
        code: Option<i32>,
    ) -> Result<String> {
        let mut command = Command::new(&self.installation.binary);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.installation.at_home(&mut command);
        match self.address.is_empty() {
            true => command.env("PENTAD_DIR", &self.installation.dir),
            false => command
                .env("PENTAD_ADDR", self.address)
                .env("PENTAD_TOKEN", self.token),
        };
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        stdin.write_all(input.as_bytes()).await?;
        drop(stdin);
        let output = child.wait_with_output().await?;
        let said = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&said).into_owned();
        if let Some(code) = code {
            self.judge(
                &format!("the output of `pentad {}`", arguments.join(" ")),
                &said,
            );
            if output.status.code() != Some(code) {
                bail!(
                    "`pentad {}` ended with {}, not {code}: {shown}",
                    arguments.join(" "),
                    output.status
                );
            }
        }
        Ok(shown)
    }
}
