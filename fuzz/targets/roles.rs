//! Roles as users write them: compiled or refused, and a denying rule never allows more.
#![no_main]
use libfuzzer_sys::fuzz_target;
use pentad_model::{
    Path, Verb,
    access::{Effect, Role, Rule},
};
use pentad_policy::Access;

fuzz_target!(|input: (&str, &str, &str)| {
    let (json, pattern, path) = input;
    let _ = serde_json::from_str::<Role>(json).map(|role| Access::compile(&[role]));
    let Ok(path) = path.parse::<Path>() else { return };
    let rule = |effect| Rule { effect, paths: vec![pattern.to_owned()], verbs: vec![Verb::Read] };
    let role = |rules| Role {
        name: "r".parse().expect("a name"),
        description: String::new(),
        rules,
    };
    if Access::compile(&[role(vec![rule(Effect::Allow)])]).is_ok() {
        let both = role(vec![rule(Effect::Allow), rule(Effect::Deny)]);
        let access = Access::compile(&[both]).expect("as sound as each of its rules");
        assert!(!access.decide(Verb::Read, &path).allowed);
    }
});
