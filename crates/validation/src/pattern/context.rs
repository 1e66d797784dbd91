//! Words that stand around the credential: its path, account and organisation, also where digits
//! and signs stand for letters.

use zeroize::Zeroizing;

use crate::Words;

/// Shorter words occur by chance.
const SHORTEST: usize = 4;
/// Words of path and account; a bound on the work.
const MOST: usize = 64;
/// Words of the organisation's dictionary; a bound on the work.
const MOST_OWN: usize = 4000;

/// Characters that the surroundings' words cover, each word once.
pub(super) fn covered(text: &[char], words: &Words<'_>) -> usize {
    let plain: Zeroizing<String> = Zeroizing::new(text.iter().map(|c| letter(*c)).collect());
    let mut seen: Vec<String> = Vec::new();
    for word in surroundings(words) {
        let word: String = word.chars().map(letter).collect();
        let known = seen.iter().any(|other| other.contains(&word));
        if word.chars().count() >= SHORTEST && !known && plain.contains(&word) {
            seen.push(word);
        }
    }
    seen.iter()
        .map(|word| word.chars().count())
        .sum::<usize>()
        .min(text.len())
}

fn surroundings<'a>(words: &Words<'a>) -> impl Iterator<Item = &'a str> {
    let path = words.path.map(|path| path.as_str());
    let own = words.organisation.iter().copied().flat_map(parts);
    path.into_iter()
        .chain(words.account)
        .flat_map(parts)
        .take(MOST)
        .chain(own.take(MOST_OWN))
}

/// Whole segments first: `orders-db` counts as one, and its parts again only if it is absent.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(['/', '@', ' '])
        .chain(text.split(|c: char| !c.is_alphanumeric()))
}

/// Lower case, with what stands for a letter read as that letter. `i`, `l`, `1` and `!` are one,
/// since `1` stands for either.
fn letter(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' | '|' | 'l' | 'L' | 'I' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' | '+' => 't',
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surroundings_words_are_found_in_disguise() {
        let path = "prod/orders-db/app".parse().ok();
        let words = Words {
            path: path.as_ref(),
            account: Some("billing@example"),
            organisation: &["Acme Corp"],
        };
        for (text, expected) in [
            ("orders2024", 6),
            ("0rd3r$!!", 6),
            ("ORDERS-DB-1", 9),
            ("b1ll1ng", 7),
            ("acme4ever", 4),
            ("prodprod", 4),
            ("app", 0),
            ("k3Jx9vQm2Lw8", 0),
        ] {
            assert_eq!(
                covered(&text.chars().collect::<Vec<_>>(), &words),
                expected,
                "{text}"
            );
        }
    }
}
