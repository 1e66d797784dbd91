//! Runs (`abcd`, `4321`) and repetition (`aaaa`, `abcabc`).

/// Characters that a run has at least.
const SHORTEST: usize = 3;

/// Characters in runs of letters or digits that go up or down by one.
pub(super) fn sequences(text: &[char]) -> usize {
    let step = |a: char, b: char| match (class(a), class(b)) {
        (Some(x), Some(y)) if x == y => match i64::from(u32::from(b)) - i64::from(u32::from(a)) {
            delta @ (1 | -1) => Some(delta),
            _ => None,
        },
        _ => None,
    };
    runs(text, step)
}

/// Characters in repetition: all, where the whole text is a repeated block, else those in runs of
/// one character.
pub(super) fn repeats(text: &[char]) -> usize {
    let period = period(text);
    if period * 2 <= text.len() && period > 0 {
        return text.len();
    }
    runs(text, |a, b| (a == b).then_some(0))
}

/// Adds up stretches whose neighbours all take the same step.
fn runs(text: &[char], step: impl Fn(char, char) -> Option<i64>) -> usize {
    let mut total = 0;
    let mut length = 1;
    let mut current = None;
    for pair in text.windows(2).map(Some).chain([None]) {
        let next = match pair {
            Some([a, b]) => step(*a, *b),
            _ => None,
        };
        if next.is_some() && next == current {
            length += 1;
            continue;
        }
        total += if length >= SHORTEST { length } else { 0 };
        // A new step begins with the pair's first character, which an old stretch may own.
        let shared = usize::from(length >= SHORTEST && next.is_some());
        length = if next.is_some() { 2 - shared } else { 1 };
        current = next;
    }
    total
}

fn class(c: char) -> Option<u8> {
    match c {
        'a'..='z' => Some(0),
        'A'..='Z' => Some(1),
        '0'..='9' => Some(2),
        // Other alphabets run too.
        _ if c.is_alphabetic() => Some(3),
        _ => None,
    }
}

/// The length of the shortest block that the text repeats, the last one possibly cut; the text's
/// own where it repeats none. By the failure function of Knuth, Morris and Pratt.
pub(crate) fn period(text: &[char]) -> usize {
    let mut borders = vec![0usize; text.len()];
    let mut matched = 0;
    for at in 1..text.len() {
        while matched > 0 && text[at] != text[matched] {
            matched = borders[matched - 1];
        }
        if text[at] == text[matched] {
            matched += 1;
        }
        borders[at] = matched;
    }
    text.len() - borders.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn runs_are_counted_up_and_down() {
        for (text, expected) in [
            ("abcd", 4),
            ("4321", 4),
            ("abcXdef", 6),
            ("ab", 0),
            ("acegi", 0),
            ("xyzabc", 6),
            ("абвг", 4),
            ("89:;", 0),
            ("1234321", 7),
            ("", 0),
        ] {
            assert_eq!(sequences(&chars(text)), expected, "{text}");
        }
    }

    #[test]
    fn repetition_is_counted() {
        for (text, expected) in [
            ("aaaa", 4),
            ("abcabc", 6),
            ("abcabcab", 8),
            ("abca", 0),
            ("xaaay", 3),
            ("aaabbb", 6),
            ("a", 0),
            ("", 0),
        ] {
            assert_eq!(repeats(&chars(text)), expected, "{text}");
        }
    }
}
