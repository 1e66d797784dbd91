//! One round of a lane, played.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    lane::Lane,
    plan::{Round, Story, Trigger, next_effects},
    show,
    tally::Wrong,
};
use crate::{api::text, systems::Obstacle};

/// How long a trigger is waited for; then the kill comes anyway.
const TRIGGER: Duration = Duration::from_secs(4);
/// How often a recovery is asked whether it is over.
const LOOK: Duration = Duration::from_millis(50);

impl Lane {
    /// Plays a round up to its last restart; the ids of the rotations that were accepted.
    pub(super) async fn play(&mut self, round: Round) -> Result<Vec<String>> {
        self.steps.clear();
        self.flight.expect(&round.holds, &self.estate);
        self.work_beside();
        let obstacle = self.obstruct(round.story).await?;
        let ahead = round.ahead();
        let mut accepted = Vec::new();
        if !ahead.is_empty() {
            accepted.extend(self.ask(&ahead).await?.0);
            self.flight.held(ahead.len(), TRIGGER).await;
        }
        let rest: Vec<usize> = round
            .members
            .iter()
            .copied()
            .filter(|member| !ahead.contains(member))
            .collect();
        accepted.extend(self.ask(&rest).await?.0);
        if let Story::SecondRequest = round.story {
            self.ask_again(&round.members, &accepted).await?;
        }
        let why = match round.story {
            Story::Cancel(_) | Story::Rollback(_) => self.steer(round.story, &accepted).await?,
            _ => self.wait_for(round.trigger, round.holds.len()).await,
        };
        self.happen(round.story).await?;
        if !self.tally.draw() {
            self.flight.release();
            drop(obstacle);
            return Ok(accepted);
        }
        self.kill(why, round.story.name()).await?;
        self.lift(obstacle);
        for trigger in round.again {
            if !self.recover_and_kill(trigger, &round.members).await? {
                break;
            }
        }
        Ok(accepted)
    }

    /// Waits for a trigger; what in fact came.
    async fn wait_for(&mut self, trigger: Trigger, held: usize) -> String {
        match trigger {
            Trigger::Held if self.flight.held(held, TRIGGER).await => {
                "effects in flight".to_owned()
            }
            Trigger::Held => "some effects in flight".to_owned(),
            Trigger::Moment(after) => {
                sleep(after).await;
                "a moment".to_owned()
            }
            Trigger::Step(step) => match self.reaches(None, step).await {
                true => format!("at {step}"),
                false => "a step that never came".to_owned(),
            },
        }
    }

    /// Waits until the log shows a step, of one credential or of any.
    async fn reaches(&mut self, path: Option<&str>, step: &str) -> bool {
        let until = Instant::now() + TRIGGER;
        while let Ok(Some(logged)) = timeout_at(until, self.logged.recv()).await {
            let here = logged.step == step && path.is_none_or(|path| path == logged.path);
            self.steps.insert(logged.path, logged.step);
            if here {
                return true;
            }
        }
        false
    }

    /// A second kill in the midst of the recovery from the first; false if that was over before.
    async fn recover_and_kill(&mut self, trigger: Trigger, members: &[usize]) -> Result<bool> {
        let held = match trigger {
            Trigger::Held => members,
            _ => &members[..members.len() / 2],
        };
        let holds = next_effects(held, &mut self.dice);
        self.flight.expect(&holds, &self.estate);
        let until = Instant::now() + TRIGGER;
        let moment = match trigger {
            Trigger::Moment(after) => Instant::now() + after,
            _ => until,
        };
        let mut looked = Instant::now();
        let mut why = None;
        while why.is_none() && Instant::now() < until {
            if Instant::now() >= moment {
                why = Some("recovery: a moment".to_owned());
            } else if trigger == Trigger::Held && self.flight.caught() {
                // Others may be on their way to theirs.
                sleep(Duration::from_millis(150)).await;
                why = Some("recovery: effects in flight".to_owned());
            } else if let Ok(logged) = self.logged.try_recv() {
                if matches!(trigger, Trigger::Step(step) if step == logged.step) {
                    why = Some(format!("recovery: at {}", logged.step));
                }
                self.steps.insert(logged.path, logged.step);
            } else if looked.elapsed() > LOOK {
                looked = Instant::now();
                if self.unfinished().await?.is_empty() {
                    break;
                }
            } else {
                sleep(Duration::from_millis(2)).await;
            }
        }
        match why {
            Some(why) if self.tally.draw() => self.kill(why, "again").await.map(|()| true),
            _ => {
                self.flight.expect(&[], &self.estate);
                self.flight.release();
                Ok(false)
            }
        }
    }

    // ---- what else happens --------------------------------------------------------------------

    /// Before the rotations: a lock in the way of one of them.
    async fn obstruct(&self, story: Story) -> Result<Option<Obstacle>> {
        let Story::Obstacle(member) = story else {
            return Ok(None);
        };
        let account = &self.estate[member];
        self.targets[&account.system].obstruct(account.to()).await
    }

    /// After the kill: the lock goes, and what waited behind it would go on.
    fn lift(&mut self, obstacle: Option<Obstacle>) {
        if let Some(obstacle) = obstacle {
            let after = Duration::from_millis(self.dice.between(0, 1000));
            self.passing.push(tokio::spawn(async move {
                sleep(after).await;
                drop(obstacle);
            }));
        }
    }

    /// What is being rotated is refused; what has ended meanwhile may be rotated again.
    async fn ask_again(&mut self, members: &[usize], accepted: &[String]) -> Result<()> {
        let (again, _) = self.ask(members).await?;
        for id in &again {
            let second = self.api.get(&format!("/v1/rotations/{id}")).await?.body()?;
            for first in accepted {
                let first = self
                    .api
                    .get(&format!("/v1/rotations/{first}"))
                    .await?
                    .body()?;
                if text(&first, "path") == text(&second, "path") && first["ended"] != true {
                    let what = format!("two rotations of one credential: {first} and {second}");
                    self.complain(Wrong::Disagreement, &what);
                }
            }
        }
        Ok(())
    }

    /// Cancels or rolls back the star of a story when it is there, and waits for the undoing.
    async fn steer(&mut self, story: Story, accepted: &[String]) -> Result<String> {
        let (member, what) = match story {
            Story::Cancel(member) => (member, "cancel"),
            Story::Rollback(member) => (member, "rollback"),
            _ => return Ok("nothing".to_owned()),
        };
        let path = self.estate[member].path.clone();
        let Some(id) = accepted
            .iter()
            .find(|id| self.ledger.rotations[*id] == path)
            .cloned()
        else {
            return Ok("was not accepted".to_owned());
        };
        let ready = match story {
            Story::Cancel(_) => self.flight.held(1, TRIGGER).await,
            _ => self.reaches(Some(&path), "observing").await,
        };
        let answer = self
            .api
            .post(&format!("/v1/rotations/{id}/{what}"), &json!({}))
            .await?;
        if story == Story::Cancel(member) {
            self.flight.release();
        }
        if !ready || !answer.ok() {
            return Ok(format!("{what} came too late"));
        }
        Ok(match self.flight.held(1, TRIGGER).await {
            true => format!("{what}, undo in flight"),
            false => format!("{what}, no undo seen"),
        })
    }

    /// With the effects in flight, before the kill.
    async fn happen(&mut self, story: Story) -> Result<()> {
        match story {
            Story::Outage(system, long) => self.passing.extend(self.flight.outage(system, long)),
            Story::Plain | Story::SecondRequest | Story::Cancel(_) | Story::Rollback(_) => {}
            Story::Obstacle(_) => sleep(Duration::from_millis(self.dice.between(50, 500))).await,
            Story::Cut(system) => {
                self.flight.cut(system);
                sleep(Duration::from_millis(self.dice.between(0, 500))).await;
            }
            Story::ThirdParty(member) => {
                let account = &self.estate[member];
                let (target, name) = (&self.targets[&account.system], account.to().to_owned());
                let value = self.dice.password();
                // The second of a pair may not be there yet: then there is nothing to change.
                match target.set_password(&name, &value).await {
                    Ok(()) => self.touched.push(member),
                    Err(error) => show(&format!(
                        "[{}] no third party at {name}: {error:#}",
                        self.number
                    )),
                }
            }
            Story::Freeze { long, released } => self.freeze(long, released).await?,
        }
        Ok(())
    }

    /// Stopped, it holds its leases and its directory, and does nothing; then it goes on as if no
    /// time had passed.
    async fn freeze(&mut self, long: Duration, released: bool) -> Result<()> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        server.stop()?;
        self.client_pauses();
        let half = long / 2;
        sleep(half).await;
        let dir = self.installation.dir.to_string_lossy().into_owned();
        let second = ["server", "--listen", "127.0.0.1:0", "--dir", &dir];
        if self.installation.run(&second).await?.status.success() {
            self.complain(
                Wrong::Disagreement,
                "a second server runs on the same directory",
            );
        }
        if released {
            self.flight.release();
        }
        sleep(long - half).await;
        if let Some(server) = &self.server {
            server.go_on()?;
        }
        sleep(Duration::from_millis(self.dice.between(0, 2500))).await;
        Ok(())
    }
}
