//! Guessability of what people choose.

use super::{Complaint, Rule};

pub(super) const RULE: Rule = Rule {
    name: "guesses",
    description: "Takes at least 10^`min_guesses_log10` guesses, where a person chose it.",
    judge: |policy, _, facts| match facts.guesses_log10 {
        Some(guesses) if guesses < policy.min_guesses_log10 => vec![Complaint::refuse(
            format!(
                "found after about 10^{:.0} guesses; at least 10^{:.0} are asked for",
                guesses.max(0.0),
                policy.min_guesses_log10
            ),
            "let Pentad generate the value, or use a passphrase of six random words",
        )],
        _ => Vec::new(),
    },
};
