//! What the process does for itself before it holds any secret. Everything here is a safe call.
//!
//! * No core dump, and no reading of its memory by other processes of the same user
//!   (`PR_SET_DUMPABLE`, `RLIMIT_CORE`): either would write keys to where nobody guards them.
//! * Memory that is given back is zeroed first: our own types do that, the buffers of the HTTP, TLS
//!   and JSON libraries, through which every value and token goes, don't.
//! * Files that it makes are its owner's alone (`umask 077`).
//!
//! **Not done:** memory is not locked against swapping. `mlockall` needs a limit that ordinary
//! accounts don't have, and the store's page cache would count against it. Use encrypted swap, or
//! none, as the operations guide says.

use std::{alloc::System, sync::OnceLock};

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use zeroizing_alloc::ZeroAlloc;

/// Overwrites each piece of the heap as it is freed, at the price of a memset. What C libraries
/// allocate is their own: AWS-LC cleanses it, and SQLite sees sealed values only.
#[global_allocator]
static HEAP: ZeroAlloc<System> = ZeroAlloc(System);

/// What the process was started with, for programs that it becomes.
static BEFORE: OnceLock<(Mode, Rlimit)> = OnceLock::new();

/// Applies all of it; the first thing that `main` does.
///
/// What the system refuses (a sandbox may) is left as it is: these are second lines of defence, and
/// a program that does not start protects nothing.
pub(crate) fn apply() {
    let core = getrlimit(Resource::Core);
    let mask = umask(Mode::from_raw_mode(0o077));
    let _ = BEFORE.set((mask, core));
    // The soft limit only: a program started by `pentad run` gets its own back.
    let _ = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: core.maximum,
        },
    );
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Gives a program that replaces this one what it would have had without us.
pub(crate) fn undo_for_exec() {
    if let Some((mask, core)) = BEFORE.get() {
        umask(*mask);
        let _ = setrlimit(Resource::Core, *core);
    }
}
