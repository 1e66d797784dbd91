//! Walks over neighbouring keys, on QWERTY, QWERTZ and AZERTY keyboards and the number pad.

/// Rows from the top, keys in columns; each row stands half a key to the right of the one above.
const STAGGERED: [[&str; 4]; 3] = [
    ["1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"],
    ["1234567890ß", "qwertzuiopü+", "asdfghjklöä#", "yxcvbnm,.-"],
    [
        "&é\"'(-è_çà)=",
        "azertyuiop^$",
        "qsdfghjklmù*",
        "wxcvbn,;:!",
    ],
];
/// The number pad, whose keys stand below each other.
const PAD: [&str; 3] = ["789", "456", "123"];
/// Shifted digits of the American keyboard, for `!QAZ`.
const SHIFTED: [&str; 2] = ["!@#$%^&*()_+", "1234567890-="];

/// Characters that are part of a walk on one keyboard, the best one.
pub(super) fn covered(text: &[char]) -> usize {
    let mut best = on(text, step_on_pad);
    for rows in &STAGGERED {
        best = best.max(on(text, |a, b| step(rows, a, b)));
    }
    best
}

/// From one key to its neighbour. A walk goes straight on: words turn too often to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Along(i32),
    Across { rows: i32, columns: i32 },
}

impl Step {
    /// Keys that a walk in this direction has at least. Columns are short.
    fn shortest(self) -> usize {
        match self {
            Self::Along(_) => 4,
            Self::Across { .. } => 3,
        }
    }
}

fn on(text: &[char], step: impl Fn(char, char) -> Option<Step>) -> usize {
    let mut total = 0;
    let mut length = 1;
    let mut current: Option<Step> = None;
    for pair in text.windows(2).map(Some).chain([None]) {
        let next = match pair {
            Some([a, b]) => step(plain(*a), plain(*b)),
            _ => None,
        };
        if next.is_some() && next == current {
            length += 1;
            continue;
        }
        total += if current.is_some_and(|step| length >= step.shortest()) {
            length
        } else {
            0
        };
        length = 2;
        current = next;
    }
    total.min(text.len())
}

fn plain(c: char) -> char {
    let lower = c.to_lowercase().next().unwrap_or(c);
    let shifted = SHIFTED[0].chars().position(|s| s == lower);
    shifted
        .and_then(|at| SHIFTED[1].chars().nth(at))
        .unwrap_or(lower)
}

fn step(rows: &[&str], a: char, b: char) -> Option<Step> {
    let ((row_a, a), (row_b, b)) = (position(rows, a)?, position(rows, b)?);
    match (row_b - row_a, b - a) {
        // Along the row of digits it is a sequence, not a walk.
        (0, columns @ (1 | -1)) if row_a > 0 => Some(Step::Along(columns)),
        (1, columns @ (0 | -1)) => Some(Step::Across { rows: 1, columns }),
        (-1, columns @ (0 | 1)) => Some(Step::Across { rows: -1, columns }),
        _ => None,
    }
}

fn step_on_pad(a: char, b: char) -> Option<Step> {
    let ((row_a, a), (row_b, b)) = (position(&PAD, a)?, position(&PAD, b)?);
    match (row_b - row_a, b - a) {
        (rows @ (1 | -1), columns @ -1..=1) => Some(Step::Across { rows, columns }),
        _ => None,
    }
}

fn position(rows: &[&str], key: char) -> Option<(i32, i32)> {
    (0..).zip(rows).find_map(|(row, keys)| {
        (0..)
            .zip(keys.chars())
            .find(|(_, c)| *c == key)
            .map(|(column, _)| (row, column))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_found_on_every_keyboard() {
        for (text, expected) in [
            ("qwerty", 6),
            ("QWERTZ", 6),
            ("azerty", 6),
            ("1qaz2wsx", 8),
            ("!QAZ@WSX", 8),
            ("147258369", 9),
            ("qazwsx", 6),
            ("orders", 0),
            ("were", 0),
            ("asdfXXlkjh", 8),
            ("poiuyt", 6),
            ("qwe", 0),
            ("1234", 0),
            ("aaaa", 0),
            ("k3Jx9vQm2Lw8", 0),
            ("", 0),
        ] {
            let found = covered(&text.chars().collect::<Vec<_>>());
            assert_eq!(found, expected, "{text}");
        }
    }
}
