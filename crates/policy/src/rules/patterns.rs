//! Shapes that guessers try first.

use pentad_model::assessment::Pattern;

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "patterns",
    description: "Has no pattern that the policy forbids; warns of the others.",
    judge: |policy, _, facts| {
        let mut seen = Vec::new();
        let mut complaints = Vec::new();
        for pattern in &facts.patterns {
            if seen.contains(&pattern) {
                continue;
            }
            seen.push(pattern);
            let (message, advice) = words(pattern);
            if policy.forbid_patterns.contains(pattern) {
                complaints.push(Complaint::refuse(message, advice));
            } else if *pattern != Pattern::Word {
                // A passphrase is made of words; whether of enough, the guesses tell.
                complaints.push(Complaint::warn(message, advice));
            }
        }
        complaints
    },
};

fn words(pattern: &Pattern) -> (&'static str, &'static str) {
    match pattern {
        Pattern::Common => (
            "built on a password that many people use",
            "let Pentad generate the value, or use a passphrase of random words",
        ),
        Pattern::Word => (
            "built on dictionary words",
            "let Pentad generate the value, or use more and unrelated words",
        ),
        Pattern::KeyboardWalk => (
            "built on neighbouring keys",
            "let Pentad generate the value",
        ),
        Pattern::Sequence => (
            "built on a run of letters or digits",
            "let Pentad generate the value",
        ),
        Pattern::Repeat => ("built on repetition", "let Pentad generate the value"),
        Pattern::Date => ("built on a date or year", "let Pentad generate the value"),
        Pattern::Placeholder => (
            "looks like a stand-in for a value that was never filled in",
            "store the real value",
        ),
        Pattern::Context => (
            "built on the words of its own path, account or organisation",
            "let Pentad generate the value, or choose one that its name does not suggest",
        ),
    }
}
