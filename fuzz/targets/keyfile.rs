//! Any bytes as `master.key`.
#![no_main]
use std::os::unix::fs::PermissionsExt;

use libfuzzer_sys::fuzz_target;
use pentad_keys::root;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("master.key");
    std::fs::write(&file, bytes).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let _ = root::file::read(&file);
});
