//! Signed checkpoints as somebody hands them over.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_store::audit::Checkpoint;

fuzz_target!(|text: &str| {
    if let Ok(checkpoint) = Checkpoint::parse_unverified(text) {
        assert!(checkpoint.body().is_ok());
    }
    assert!(Checkpoint::parse_and_verify(text, "pentad.test", &[7; 32]).is_err());
});
