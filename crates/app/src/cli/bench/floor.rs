//! The floor: what the same rotations cost at the target without Pentad.
//!
//! For each role, over plain connections: the server keeps the old value (a query, and the
//! derivation of a key to compare), `ALTER ROLE` with the new value's verifier, the new value logs
//! in. These are the statements and the login of a rotation in place, and nothing else: no
//! store, no intent on disk, no keys, no audit log. Administrating connections are opened before the
//! clock starts and used again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pentad_model::Secret;
use tokio::task::JoinSet;

use super::{
    report::cpu_time,
    server::{Connection, Role, Seen, Server, Verifier, random},
};
use crate::failure::Failure;

/// One role's part, with all that can be made beforehand.
struct Part {
    role: String,
    old: Secret,
    new: Secret,
}

/// Roles that a number of connections is tried on.
const TRIED_ON: usize = 96;

/// What the floor takes.
#[derive(Clone, Copy)]
pub(super) struct Took {
    pub(super) took: Duration,
    /// Of this process.
    pub(super) cpu: Duration,
}

impl Took {
    /// The faster one.
    pub(super) fn min(self, other: Self) -> Self {
        if other.took < self.took { other } else { self }
    }
}

/// How many connections of at most so many make the floor lowest, by trying some on a part of the
/// roles: a server with few processors is fastest by few of them, one far away by many.
pub(super) async fn fastest(
    server: &Server,
    roles: &mut [Role],
    most: usize,
) -> Result<usize, Failure> {
    let part = roles.len().min(TRIED_ON);
    let tried = [most, most / 2, most / 4, most / 8];
    let mut best = (Duration::MAX, most);
    for connections in tried.into_iter().filter(|connections| *connections > 0) {
        let took = measure(server, &mut roles[..part], connections).await?.took;
        best = best.min((took, connections));
    }
    Ok(best.1)
}

/// Gives every role another value, `concurrency` at a time, and tells what that took.
pub(super) async fn measure(
    server: &Server,
    roles: &mut [Role],
    concurrency: usize,
) -> Result<Took, Failure> {
    let parts: Arc<Vec<Part>> = Arc::new(roles.iter().map(Part::of).collect());
    let mut admins = Vec::with_capacity(concurrency);
    for _ in 0..concurrency.min(roles.len()) {
        admins.push(server.admin().await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut workers = JoinSet::new();
    for admin in admins {
        let (server, parts, next) = (server.clone(), Arc::clone(&parts), Arc::clone(&next));
        workers.spawn(async move {
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                part.rotate(&server, &admin).await?;
            }
            Ok::<_, Failure>(admin)
        });
    }
    let mut idle = Vec::with_capacity(concurrency);
    while let Some(worker) = workers.join_next().await {
        idle.push(worker.map_err(|error| Failure::internal(error.to_string()))??);
    }
    let took = Took {
        took: start.elapsed(),
        cpu: cpu_time().saturating_sub(cpu),
    };
    for admin in idle {
        Connection::close(admin).await;
    }
    for (role, part) in roles.iter_mut().zip(parts.iter()) {
        role.value = part.new.clone();
    }
    Ok(took)
}

impl Part {
    fn of(role: &Role) -> Self {
        Self {
            role: role.name.clone(),
            old: role.value.clone(),
            new: random(),
        }
    }

    async fn rotate(&self, server: &Server, admin: &Connection) -> Result<(), Failure> {
        if !server.keeps(admin, &self.role, &self.old).await? {
            return Err(self.unexpected("the server should keep the old value"));
        }
        let verifier = Verifier::of(&self.new);
        server.alter(admin, &self.role, &verifier).await?;
        match server.login(&self.role, &self.new).await {
            Seen::Works => Ok(()),
            seen => Err(self.unexpected(&format!("the new value should log in: {seen:?}"))),
        }
    }

    fn unexpected(&self, what: &str) -> Failure {
        Failure::unavailable(format!("the floor can't be measured: {}: {what}", self.role))
    }
}
