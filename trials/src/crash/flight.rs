//! The proxies of a lane, and what is in flight in them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    estate::Account,
    plan::{Effect, Hold},
};
use crate::{
    proxy::{Proxy, Sighting},
    systems::{Place, System},
};

/// See the [module](self).
pub struct Flight {
    /// One before each target.
    pub proxies: BTreeMap<System, Proxy>,
    sightings: UnboundedReceiver<Sighting>,
}

impl Flight {
    /// A proxy before each target.
    pub async fn open(systems: &[System]) -> Result<Self> {
        let (seen, sightings) = mpsc::unbounded_channel();
        let mut proxies = BTreeMap::new();
        for system in systems {
            let upstream = Place::of(*system)?.address;
            proxies.insert(
                *system,
                Proxy::start(*system, &upstream, seen.clone()).await?,
            );
        }
        Ok(Self { proxies, sightings })
    }

    /// From now on holds these, and nothing else.
    pub fn expect(&mut self, holds: &[Hold], estate: &[Account]) {
        self.proxies.values().for_each(Proxy::forget);
        while self.sightings.try_recv().is_ok() {}
        for hold in holds {
            let account = &estate[hold.member];
            let applied = holds
                .iter()
                .any(|other| other.member == hold.member && other.effect == Effect::Apply);
            if let Some(proxy) = self.proxies.get(&account.system) {
                hold.rules(account, applied)
                    .into_iter()
                    .for_each(|rule| proxy.hold(rule));
            }
        }
    }

    /// Waits until `count` rules have taken hold; false if `bound` passes first.
    pub async fn held(&mut self, count: usize, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        for _ in 0..count {
            match timeout_at(until, self.sightings.recv()).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
        true
    }

    /// A rule has taken hold since the last look.
    pub fn caught(&mut self) -> bool {
        self.sightings.try_recv().is_ok()
    }

    /// The effects in flight: account and where.
    pub fn effects(&self) -> Vec<(String, &'static str)> {
        let all = self.proxies.values().flat_map(Proxy::flying);
        all.map(|(account, phase)| (account, phase.as_str()))
            .collect()
    }

    /// Effects that will reach their server late.
    pub fn late(&self) -> usize {
        self.proxies.values().map(Proxy::late).sum()
    }

    /// From now on nobody gets through to this system, for so long; its recovery must wait.
    pub fn outage(&self, system: System, long: Duration) -> Option<JoinHandle<()>> {
        Some(self.proxies.get(&system)?.refuse(long))
    }

    /// Held effects and replies go on.
    pub fn release(&self) {
        self.proxies.values().for_each(Proxy::release);
    }

    /// Connections to this system with a held effect break.
    pub fn cut(&self, system: System) {
        if let Some(proxy) = self.proxies.get(&system) {
            proxy.cut();
        }
    }

    /// Pentad is dead: held effects meet what was planned for them.
    pub fn killed(&self) {
        self.proxies.values().for_each(Proxy::forget);
        self.proxies.values().for_each(Proxy::killed);
    }
}
