//! Measuring and judging any value of any kind: never a panic, and a score within its bounds.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_model::{Kind, Secret};
use pentad_policy::{CredentialPolicy, judge};
use pentad_validation::{Words, measure};

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let kind = Kind::ALL[usize::from(which) % Kind::ALL.len()];
    let facts = measure(&Secret::new(bytes), kind, &Words::default(), 2026);
    let judged = judge(&CredentialPolicy::builtin(kind), kind, &facts);
    assert!(judged.score <= 100);
});
