//! After a recovery: wait until nothing is unfinished, then compare everything.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::{
    fs,
    time::{Instant, sleep},
};

use super::{check, estate, lane::Lane, show, tally::Wrong};
use crate::{api::text, dice::Dice};

/// How long a recovery may take until nothing is unfinished.
const RECOVERY: Duration = Duration::from_secs(60);
/// Longer than any effect is late.
const LATE: Duration = Duration::from_secs(5);

impl Lane {
    pub(super) async fn unfinished(&self) -> Result<Vec<Value>> {
        self.api
            .all("/v1/rotations?unfinished=true", "before")
            .await
    }

    /// Waits until nothing is unfinished and nothing can happen any more; the paths of rotations that
    /// don't end.
    pub(super) async fn settle(&mut self, accepted: &[String]) -> Result<Vec<String>> {
        self.flight.expect(&[], &self.estate);
        for passing in self.passing.drain(..) {
            let _ = passing.await;
        }
        let mut stuck = self.ended().await?;
        if stuck.is_empty() && !self.touched.is_empty() {
            self.resolve(accepted).await?;
            stuck = self.ended().await?;
        }
        // Effects that are on their way yet: look only after they can have done harm.
        let until = Instant::now() + LATE;
        while self.flight.late() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_millis(100)).await;
        Ok(stuck)
    }

    async fn ended(&mut self) -> Result<Vec<String>> {
        let until = Instant::now() + RECOVERY;
        loop {
            let unfinished = self.unfinished().await?;
            if unfinished.is_empty() {
                return Ok(Vec::new());
            }
            let all_paused = unfinished.iter().all(|one| text(one, "control") == "pause");
            if Instant::now() >= until || all_paused {
                for rotation in &unfinished {
                    self.complain(Wrong::Disagreement, &format!("does not end: {rotation}"));
                }
                return Ok(unfinished
                    .iter()
                    .map(|one| text(one, "path").to_owned())
                    .collect());
            }
            sleep(Duration::from_millis(40)).await;
        }
    }

    /// Where somebody else changed an account that Pentad does not own, it has to ask; it is told to
    /// overwrite.
    async fn resolve(&mut self, accepted: &[String]) -> Result<()> {
        for id in accepted {
            let path = format!("/v1/rotations/{id}");
            let rotation = self.api.get(&path).await?.body()?;
            if text(&rotation, "step") == "diverged" {
                self.tally.ended("diverged, then resolved");
                let how = json!({"how": "overwrite"});
                self.api
                    .post(&format!("{path}/resolve"), &how)
                    .await?
                    .body()?;
            }
        }
        Ok(())
    }

    /// Compares members with their targets, accepted rotations with what is stored, and the ledger
    /// with what is there.
    pub(super) async fn compare(
        &mut self,
        members: &[usize],
        accepted: &[String],
        all: bool,
    ) -> Result<()> {
        let mut current = BTreeMap::new();
        let checks: Vec<_> = members
            .iter()
            .map(|index| (*index, Dice::new(self.dice.roll(), 2)))
            .collect();
        let checked = futures::future::join_all(checks.into_iter().map(|(index, dice)| {
            let (api, targets, account) = (&self.api, &self.targets, &self.estate[index]);
            async move {
                (
                    index,
                    check::account(api, targets, account, all, dice).await,
                )
            }
        }))
        .await;
        let mut complaints = Vec::new();
        for (index, found) in checked {
            let found = found?;
            self.tally.logins(found.logins);
            let account = &mut self.estate[index];
            if let Some(seen) = &found.current {
                current.insert(account.path.clone(), seen.clone());
                if account.seen.last() != Some(seen) {
                    account.seen.push(seen.clone());
                }
            }
            complaints.extend(
                found
                    .complaints
                    .into_iter()
                    .map(|complaint| (index, complaint)),
            );
        }
        for (index, complaint) in complaints {
            let path = self.estate[index].path.clone();
            let lost = complaint.contains("is lost");
            let wrong = if lost {
                Wrong::Lost
            } else {
                Wrong::Disagreement
            };
            self.complain(wrong, &complaint);
            self.tell_all(&path).await;
        }
        self.endings(accepted, &current).await?;
        let mut dice = Dice::new(self.dice.roll(), 3);
        let (found, missing) = self.ledger.check(&self.api, all, &mut dice).await?;
        self.tally.found_again(found);
        missing
            .iter()
            .for_each(|what| self.complain(Wrong::Lost, what));
        self.touched.clear();
        Ok(())
    }

    async fn endings(
        &mut self,
        accepted: &[String],
        current: &BTreeMap<String, estate::Seen>,
    ) -> Result<()> {
        for id in accepted {
            let answer = self.api.get(&format!("/v1/rotations/{id}")).await?;
            if !answer.ok() {
                let what = format!(
                    "rotation {id} was accepted, and is not there: {}",
                    answer.status
                );
                self.complain(Wrong::Lost, &what);
                continue;
            }
            let rotation = answer.body;
            let path = text(&rotation, "path");
            self.tally.ended(text(&rotation, "step"));
            let touched = self
                .touched
                .iter()
                .any(|index| self.estate[*index].path == path);
            for complaint in check::ending(&rotation, current.get(path), touched) {
                self.complain(Wrong::Disagreement, &complaint);
                self.tell_all(path).await;
            }
        }
        Ok(())
    }

    pub(super) fn complain(&self, wrong: Wrong, what: &str) {
        self.tally.wrong(wrong);
        show(&format!("[{}] {wrong:?}: {what}", self.number));
    }

    /// All that is known of a credential, without values.
    async fn tell_all(&self, path: &str) {
        for what in [
            format!("/v1/credentials/{path}"),
            format!("/v1/rotations?path={path}&limit=2"),
            format!("/v1/history/{path}?limit=8"),
        ] {
            if let Ok(answer) = self.api.get(&what).await {
                show(&format!("    {what}: {}", answer.body));
            }
        }
        if let Some(account) = self.estate.iter().find(|account| account.path == path) {
            show(&format!("    seen as current: {:?}", account.seen));
        }
        show(&format!("    log: {}", self.installation.log.display()));
    }

    // ---- the audit log ------------------------------------------------------------------------

    /// Keeps a signed checkpoint, as a verifier elsewhere would.
    pub(super) async fn keep_checkpoint(&mut self) -> Result<()> {
        let checkpoint = self.api.get("/v1/audit/checkpoint").await?.body()?;
        let name = format!("checkpoint-{:03}", self.checkpoints.len());
        let file = self.installation.log.with_file_name(name);
        fs::write(&file, text(&checkpoint, "note")).await?;
        let key = self.installation.log.with_file_name("checkpoint.key");
        fs::write(&key, text(&checkpoint, "key")).await?;
        self.checkpoints.push(file);
        Ok(())
    }

    /// `pentad audit verify` on the dead store, against the checkpoints kept so far.
    pub(super) async fn verify_audit(&mut self) -> Result<()> {
        let dir = self.installation.dir.to_string_lossy().into_owned();
        let first = self.checkpoints.first().context("no checkpoint was kept")?;
        let last = self.checkpoints.last().unwrap_or(first);
        let key = fs::read_to_string(first.with_file_name("checkpoint.key")).await?;
        for kept in [first, last] {
            let kept = kept.to_string_lossy().into_owned();
            let arguments = [
                "audit",
                "verify",
                "--dir",
                &dir,
                "--checkpoint",
                &kept,
                "--key",
                key.trim(),
            ];
            let output = self.installation.run(&arguments).await?;
            if output.status.success() {
                self.tally.verified();
            } else {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let what = format!(
                    "`pentad audit verify` against {kept}: {} {said}",
                    output.status
                );
                self.complain(Wrong::Lost, &what);
            }
        }
        Ok(())
    }
}
