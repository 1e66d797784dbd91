//! Walks over neighbouring keys, on QWERTY, QWERTZ and AZERTY keyboards and the number pad.

use std::sync::LazyLock;

use zeroize::Zeroizing;

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
    static KEYBOARDS: LazyLock<[Board; 3]> =
        LazyLock::new(|| [0, 1, 2].map(|at| Board::new(&STAGGERED[at])));
    static NUMBERS: LazyLock<Board> = LazyLock::new(|| Board::new(&PAD));
    let plain: Zeroizing<Vec<char>> = Zeroizing::new(text.iter().map(|c| plain(*c)).collect());
    let mut best = on(&plain, &NUMBERS, step_on_pad);
    for board in &*KEYBOARDS {
        best = best.max(on(&plain, board, step));
    }
    best
}

/// Where a key is: its row and its column.
type Place = (i32, i32);

/// A board's keys, those of ASCII found at once.
struct Board {
    rows: &'static [&'static str],
    ascii: [Option<Place>; 128],
}

impl Board {
    fn new(rows: &'static [&'static str]) -> Self {
        let mut ascii = [None; 128];
        for (byte, place) in (0_u8..).zip(&mut ascii) {
            *place = position(rows, char::from(byte));
        }
        Self { rows, ascii }
    }

    fn place(&self, key: char) -> Option<Place> {
        match self.ascii.get(key as usize) {
            Some(place) => *place,
            None => position(self.rows, key),
        }
    }
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

fn on(text: &[char], board: &Board, step: impl Fn(Place, Place) -> Option<Step>) -> usize {
    let mut total = 0;
    let mut length = 1;
    let mut current: Option<Step> = None;
    let mut places = text.iter().map(|key| board.place(*key));
    let mut last = places.next().flatten();
    for place in places.map(Some).chain([None]) {
        let next = place.and_then(|place| {
            let next = last.zip(place).and_then(|(a, b)| step(a, b));
            last = place;
            next
        });
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
    if c.is_ascii_alphanumeric() {
        return c.to_ascii_lowercase();
    }
    let lower = c.to_lowercase().next().unwrap_or(c);
    let shifted = SHIFTED[0].chars().position(|s| s == lower);
    shifted
        .and_then(|at| SHIFTED[1].chars().nth(at))
        .unwrap_or(lower)
}

fn step((row_a, a): Place, (row_b, b): Place) -> Option<Step> {
    match (row_b - row_a, b - a) {
        // Along the row of digits it is a sequence, not a walk.
        (0, columns @ (1 | -1)) if row_a > 0 => Some(Step::Along(columns)),
        (1, columns @ (0 | -1)) => Some(Step::Across { rows: 1, columns }),
        (-1, columns @ (0 | 1)) => Some(Step::Across { rows: -1, columns }),
        _ => None,
    }
}

fn step_on_pad((row_a, a): Place, (row_b, b): Place) -> Option<Step> {
    match (row_b - row_a, b - a) {
        (rows @ (1 | -1), columns @ -1..=1) => Some(Step::Across { rows, columns }),
        _ => None,
    }
}

fn position(rows: &[&str], key: char) -> Option<Place> {
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
