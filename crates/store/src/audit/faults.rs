//! Disk faults, injected under test only: without `cfg(test)` every method is empty.

#[cfg(test)]
pub(super) use injected::Faults;
#[cfg(not(test))]
pub(super) use real::Faults;

#[cfg(not(test))]
mod real {
    use std::io;

    use crate::audit::AuditError;

    /// No faults.
    #[derive(Clone, Debug, Default)]
    pub(in crate::audit) struct Faults(());

    impl Faults {
        pub(in crate::audit) fn write(&self, _bytes: u64) -> io::Result<()> {
            Ok(())
        }
        pub(in crate::audit) fn sync(&self) -> io::Result<()> {
            Ok(())
        }
        pub(in crate::audit) fn take_space(&self, _bytes: u64) -> Result<(), AuditError> {
            Ok(())
        }
        pub(in crate::audit) fn give_space(&self, _bytes: u64) {}
    }
}

#[cfg(test)]
mod injected {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
        },
    };

    use parking_lot::Mutex;

    use crate::audit::AuditError;

    /// A disk of limited space whose fsync can be held up or fail.
    #[derive(Clone, Debug)]
    pub(in crate::audit) struct Faults(pub(in crate::audit) Arc<Disk>);

    #[derive(Debug)]
    pub(in crate::audit) struct Disk {
        pub(in crate::audit) space: AtomicU64,
        pub(in crate::audit) fail_sync: AtomicBool,
        pub(in crate::audit) fail_write: AtomicBool,
        pub(in crate::audit) syncs: AtomicU64,
        pub(in crate::audit) gate: Mutex<()>,
    }

    impl Default for Faults {
        fn default() -> Self {
            Self(Arc::new(Disk {
                space: AtomicU64::new(u64::MAX / 2),
                fail_sync: AtomicBool::new(false),
                fail_write: AtomicBool::new(false),
                syncs: AtomicU64::new(0),
                gate: Mutex::new(()),
            }))
        }
    }

    impl Faults {
        pub(in crate::audit) fn write(&self, bytes: u64) -> io::Result<()> {
            if self.0.fail_write.load(SeqCst) {
                return Err(io::Error::other("injected write failure"));
            }
            self.take_space(bytes)
                .map_err(|_| io::ErrorKind::StorageFull.into())
        }

        pub(in crate::audit) fn sync(&self) -> io::Result<()> {
            self.0.syncs.fetch_add(1, SeqCst);
            drop(self.0.gate.lock());
            if self.0.fail_sync.load(SeqCst) {
                return Err(io::Error::other("injected fsync failure"));
            }
            Ok(())
        }

        pub(in crate::audit) fn take_space(&self, bytes: u64) -> Result<(), AuditError> {
            self.0
                .space
                .fetch_update(SeqCst, SeqCst, |space| space.checked_sub(bytes))
                .map(|_| ())
                .map_err(|_| AuditError::Full)
        }

        pub(in crate::audit) fn give_space(&self, bytes: u64) {
            self.0.space.fetch_add(bytes, SeqCst);
        }
    }
}
