//! How a credential is rotated: the binding's wish, held against what the connector can do.

use pentad_model::{credential::Binding, rotation::Strategy};

/// Why no strategy fits. Whoever wrote the binding mends it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoStrategy {
    /// The binding asks for one that the connector doesn't have.
    #[error("this target's system can't rotate {}; it can: {}", words(*.asked), list(.supported))]
    Unsupported {
        /// What the binding asks for.
        asked: Strategy,
        /// What the connector can do.
        supported: Vec<Strategy>,
    },
    /// Alternating users without a second user.
    #[error("alternating users need a second account: set the binding's `alternate`")]
    NoAlternate,
    /// The second user is the first.
    #[error("the binding's `alternate` must be another account than its `account`")]
    SameAccount,
    /// The connector can do nothing that this binding allows.
    #[error(
        "this target's system can rotate nothing by itself; change the value there and `put` it"
    )]
    Nothing,
}

/// The binding's own strategy if the connector supports it, else the connector's first choice;
/// alternating users only where the binding names a second account.
pub fn choose_strategy(binding: &Binding, supported: &[Strategy]) -> Result<Strategy, NoStrategy> {
    if binding.alternate.as_deref() == Some(binding.account.as_str()) {
        return Err(NoStrategy::SameAccount);
    }
    let usable =
        |strategy: Strategy| strategy != Strategy::Alternating || binding.alternate.is_some();
    match binding.strategy {
        Some(asked) if !supported.contains(&asked) => Err(NoStrategy::Unsupported {
            asked,
            supported: supported.to_vec(),
        }),
        Some(asked) if !usable(asked) => Err(NoStrategy::NoAlternate),
        Some(asked) => Ok(asked),
        None => match supported.iter().copied().find(|strategy| usable(*strategy)) {
            Some(strategy) => Ok(strategy),
            None if supported.is_empty() => Err(NoStrategy::Nothing),
            None => Err(NoStrategy::NoAlternate),
        },
    }
}

fn words(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::InPlace => "in place (`in_place`)",
        Strategy::Overlap => "with overlap (`overlap`)",
        Strategy::Alternating => "with alternating users (`alternating`)",
    }
}

fn list(strategies: &[Strategy]) -> String {
    if strategies.is_empty() {
        return "nothing".to_owned();
    }
    strategies
        .iter()
        .map(|strategy| words(*strategy))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use Strategy::{Alternating, InPlace, Overlap};

    use super::*;

    fn binding(strategy: Option<Strategy>, alternate: Option<&str>) -> Binding {
        serde_json::from_value(serde_json::json!({
            "target": "db", "account": "app", "alternate": alternate, "strategy": strategy,
        }))
        .unwrap()
    }

    #[test]
    fn the_choice_follows_the_binding_then_the_connector() {
        let all = &[Alternating, Overlap, InPlace][..];
        for (asked, alternate, supported, expected) in [
            (None, None, all, Ok(Overlap)),
            (None, Some("app2"), all, Ok(Alternating)),
            (Some(InPlace), Some("app2"), all, Ok(InPlace)),
            (Some(Alternating), None, all, Err(NoStrategy::NoAlternate)),
            (None, None, &[Alternating][..], Err(NoStrategy::NoAlternate)),
            (None, Some("app"), all, Err(NoStrategy::SameAccount)),
            (None, None, &[][..], Err(NoStrategy::Nothing)),
            (
                Some(Overlap),
                None,
                &[InPlace][..],
                Err(NoStrategy::Unsupported {
                    asked: Overlap,
                    supported: vec![InPlace],
                }),
            ),
        ] {
            assert_eq!(
                choose_strategy(&binding(asked, alternate), supported),
                expected
            );
        }
    }

    #[test]
    fn a_refusal_says_what_the_system_can_do() {
        let error = choose_strategy(&binding(Some(Overlap), None), &[InPlace]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this target's system can't rotate with overlap (`overlap`); it can: in place (`in_place`)"
        );
    }
}
