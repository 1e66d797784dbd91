//! A TCP proxy before a target. It recognises the statements that change an account, and by rule
//! holds one before the server, or its reply before the client, until the campaign decides what
//! becomes of it.
//!
//! Works on plain connections only: it reads what passes.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::systems::System;

mod effect;
mod link;
#[cfg(test)]
mod tests;

/// Where an effect is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Sent by Pentad, not yet at the server.
    Request,
    /// Passed on, and waiting at the server for something there.
    AtServer,
    /// Done at the server; its reply is not yet with Pentad.
    Reply,
}

impl Phase {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "before the server",
            Self::AtServer => "waiting at the server",
            Self::Reply => "done, reply on its way",
        }
    }
}

/// What becomes of a held effect once Pentad is dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It reaches the server after all, so long after the kill.
    Late(Duration),
    /// It is lost; the connection at the server stays open for a while, as after a broken network.
    Lost,
}

/// Holds the next effect on an account.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which account.
    pub account: String,
    /// So many effects on it pass first.
    pub skip: u32,
    /// Where to hold it.
    pub phase: Phase,
    /// And then.
    pub then: Then,
}

/// A rule took hold.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// Of which account.
    pub account: String,
    /// Where it is held.
    pub phase: Phase,
}

/// What held connections are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    /// Wait.
    Hold,
    /// Pentad is dead: do as the rule says.
    Killed,
    /// Go on as if nothing had been.
    Release,
    /// Break the connection on both sides.
    Cut,
}

/// See the [module](self).
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    system: System,
    upstream: SocketAddr,
    rules: Mutex<VecDeque<Rule>>,
    orders: watch::Sender<Order>,
    seen: mpsc::UnboundedSender<Sighting>,
    /// Effects that were seen to leave and whose reply was not yet seen to arrive, by connection.
    flying: Mutex<BTreeMap<u64, (String, Phase)>>,
    links: AtomicU64,
    /// Held requests that will reach the server late.
    late: AtomicUsize,
    /// New connections are refused.
    refuses: AtomicBool,
}

impl Proxy {
    /// A proxy before `upstream`; what its rules catch goes to `seen`.
    pub async fn start(
        system: System,
        upstream: &str,
        seen: mpsc::UnboundedSender<Sighting>,
    ) -> Result<Self> {
        let upstream = lookup_host(upstream)
            .await?
            .next()
            .ok_or_else(|| anyhow::anyhow!("`{upstream}` has no address"))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            system,
            upstream,
            rules: Mutex::default(),
            orders: watch::Sender::new(Order::Hold),
            seen,
            flying: Mutex::default(),
            links: AtomicU64::new(0),
            late: AtomicUsize::new(0),
            refuses: AtomicBool::new(false),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Adds a rule. Rules for one account apply one after the other.
    pub fn hold(&self, rule: Rule) {
        guard(&self.shared.rules).push_back(rule);
    }

    /// Forgets all rules that have not taken hold.
    pub fn forget(&self) {
        guard(&self.shared.rules).clear();
    }

    /// The effects in flight: held ones, and those that just pass.
    pub fn flying(&self) -> Vec<(String, Phase)> {
        guard(&self.shared.flying).values().cloned().collect()
    }

    /// Held requests that have yet to reach the server, late.
    pub fn late(&self) -> usize {
        self.shared.late.load(Ordering::Relaxed)
    }

    /// Refuses new connections for so long.
    pub fn refuse(&self, long: Duration) -> JoinHandle<()> {
        let shared = Arc::clone(&self.shared);
        shared.refuses.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            tokio::time::sleep(long).await;
            shared.refuses.store(false, Ordering::Relaxed);
        })
    }

    /// Pentad is dead: held effects meet what their rules say.
    pub fn killed(&self) {
        self.shared.orders.send_replace(Order::Killed);
    }

    /// Held effects and replies go on as if nothing had been.
    pub fn release(&self) {
        self.shared.orders.send_replace(Order::Release);
    }

    /// Connections with a held effect break.
    pub fn cut(&self) {
        self.shared.orders.send_replace(Order::Cut);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.refuses.load(Ordering::Relaxed) {
            continue; // closes it
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A server that refuses shows itself to the client as a closed connection.
            if let Ok(server) = TcpStream::connect(shared.upstream).await {
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let number = shared.links.fetch_add(1, Ordering::Relaxed);
                link::run(client, server, number, &shared).await;
                guard(&shared.flying).remove(&number);
            }
        });
    }
}

impl Shared {
    /// The rule that catches this effect, if any.
    fn catch(&self, account: &str) -> Option<Rule> {
        let mut rules = guard(&self.rules);
        let index = rules.iter().position(|rule| rule.account == account)?;
        if rules[index].skip > 0 {
            rules[index].skip -= 1;
            return None;
        }
        rules.remove(index)
    }

    fn fly(&self, link: u64, account: &str, phase: Phase) {
        guard(&self.flying).insert(link, (account.to_owned(), phase));
    }

    fn land(&self, link: u64) {
        guard(&self.flying).remove(&link);
    }

    fn sight(&self, account: &str, phase: Phase) {
        let account = account.to_owned();
        let _ = self.seen.send(Sighting { account, phase });
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
