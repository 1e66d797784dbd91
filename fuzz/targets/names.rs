//! Names, ids, kinds: what parses keeps its text and parses again to the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_model::{Id, Kind, Name, Path, Tenant, Verb};

fuzz_target!(|text: &str| {
    if let Ok(path) = text.parse::<Path>() {
        assert_eq!(path.as_str(), text);
        assert!(path.segments().all(|part| !part.is_empty() && part != ".."));
    }
    if let Ok(name) = text.parse::<Name>() {
        assert!(!name.as_str().contains('/'));
    }
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string().parse::<Id>(), Ok(id));
    }
    let _ = text.parse::<Tenant>();
    let _ = text.parse::<Kind>();
    let _ = text.parse::<Verb>();
});
