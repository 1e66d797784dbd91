//! Panics on agents' threads are reported by place, never by message.
//!
//! A panic's message is whatever was formatted into it, and may hold a secret. So on the threads of
//! agents the hook logs the agent and `file:line`, remembers the place for the health report, and
//! does not call the hook that was there before. Elsewhere that one is called as ever.

use std::{cell::Cell, cell::RefCell, panic, sync::Once};

thread_local! {
    static AGENT: Cell<Option<&'static str>> = const { Cell::new(None) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Puts the hook in front of the present one, once a process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match AGENT.get() {
            None => before(info),
            Some(agent) => {
                let place = info.location().map_or_else(
                    || "an unknown place".to_owned(),
                    |at| format!("{}:{}", at.file(), at.line()),
                );
                tracing::error!(agent, place, "panic in an agent; it is contained");
                PLACE.set(Some(place));
            }
        }));
    });
}

/// Marks this thread as one of the agent's.
pub(crate) fn adopt_thread(agent: &'static str) {
    AGENT.set(Some(agent));
}

/// Marks this thread as the agent's for as long as `work` runs on it.
pub(crate) fn as_agents<T>(agent: &'static str, work: impl FnOnce() -> T) -> T {
    let before = AGENT.replace(Some(agent));
    let done = work();
    AGENT.set(before);
    done
}

/// Where this thread panicked last, `file:line`.
pub(crate) fn take_place() -> Option<String> {
    PLACE.take()
}
