//! Sealed bytes from a hostile store: never opened, never a panic.
#![no_main]
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pentad_keys::{Binding, Keyring, RootKey};
use pentad_model::{Kind, Path, Sealed, Tenant, id::OsEntropy};

static KEYRING: LazyLock<(Keyring, Tenant, Path)> = LazyLock::new(|| {
    let tenant = Tenant::default_tenant();
    let keyring = Keyring::new(RootKey::generate(&OsEntropy), Arc::new(OsEntropy)).expect("keys");
    let wrapped = keyring.create_tenant_key(&tenant).expect("a key");
    keyring.load_tenant_key(&wrapped).expect("our own key");
    (keyring, tenant, "a/b".parse().expect("a path"))
});

fuzz_target!(|bytes: &[u8]| {
    let (keyring, tenant, path) = &*KEYRING;
    let binding = Binding { tenant, path, version: 1, kind: Kind::Secret };
    assert!(keyring.open(&binding, &Sealed::from_bytes(bytes.to_vec())).is_err());
});
