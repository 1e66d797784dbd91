//! File descriptors: each connection is one, and the store, the log and the targets need some too.
//!
//! A process that runs out of them can't write its log, so connections never get the last ones. Many
//! systems start programs with 1,024 and let them have more on request.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept back: the store's and the log's files, connections to targets, what is being refused.
const KEPT_BACK: u64 = 512;

/// Asks the system for enough of them; how many connections there may be with what it gives.
pub(super) fn enough_for(connections: u32) -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(connections) + KEPT_BACK;
    if limit.current.is_some_and(|now| now < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
    let given = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let allowed = allowed(connections, given);
    if allowed < connections {
        tracing::warn!(
            allowed,
            wanted = connections,
            descriptors = given,
            "fewer connections at once than configured: raise the limit of open files (LimitNOFILE)"
        );
    }
    allowed
}

fn allowed(connections: u32, descriptors: u64) -> u32 {
    // With very few, half of them.
    let most = descriptors.saturating_sub(KEPT_BACK).max(descriptors / 2);
    connections.min(u32::try_from(most).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_get_the_last_descriptors() {
        assert_eq!(allowed(4096, 1 << 20), 4096);
        assert_eq!(allowed(4096, 4608), 4096);
        assert_eq!(allowed(4096, 2048), 1536);
        assert_eq!(allowed(4096, 1024), 512);
        assert_eq!(allowed(4096, 256), 128);
    }
}
