//! Any bytes as the audit log's first segment: verified or refused, never a panic.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_store::audit::{self, AuditLog, Options};

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("segment-0000000000000000.log"), bytes).expect("a file");
    let _ = audit::verify(dir.path(), &[]);
    let _ = AuditLog::open(dir.path(), Options::default(), 0);
});
