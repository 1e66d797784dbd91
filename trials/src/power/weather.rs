//! Chance at a power cut: what of the unsynced survives, and in which shape.
//!
//! Of the edits of a file each survives whole, not at all, in its length alone, or torn at sectors
//! of 512 bytes; later ones may survive without earlier ones. Where a length survives without its
//! bytes there are zeros, or garbage. Of the names each event survives or not, by itself. Some cuts
//! leave everything (as `kill -9` does), some nothing.
//!
//! What a torn write never does is harm its neighbours: bytes that were not written stay. That much
//! disks of today promise, and SQLite counts on it (`SQLITE_POWERSAFE_OVERWRITE`).

use super::disk::{Content, Edit};
use crate::dice::Dice;

/// What is written in one go.
const SECTOR: u64 = 512;

/// How a cut treats the unsynced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Nothing of it survives.
    Nothing,
    /// All of it survives.
    Everything,
    /// Each part by itself.
    Mixed,
}

/// The chance of one cut.
#[derive(Clone, Debug)]
pub struct Weather {
    dice: Dice,
    mood: Mood,
    /// What survived and what did not, of edits and namings.
    pub left: usize,
    /// See [`left`](Self::left).
    pub lost: usize,
    /// Writes that survived in part.
    pub torn: usize,
}

impl Weather {
    /// The weather that these dice say.
    pub fn new(mut dice: Dice) -> Self {
        let mood = match dice.between(0, 9) {
            0 | 1 => Mood::Nothing,
            2 => Mood::Everything,
            _ => Mood::Mixed,
        };
        Self {
            mood,
            ..Self::of(dice)
        }
    }

    /// Nothing unsynced survives.
    pub fn merciless() -> Self {
        Self {
            mood: Mood::Nothing,
            ..Self::of(Dice::new(0, 0))
        }
    }

    fn of(dice: Dice) -> Self {
        Self {
            dice,
            mood: Mood::Mixed,
            left: 0,
            lost: 0,
            torn: 0,
        }
    }

    /// How it is.
    pub fn mood(&self) -> Mood {
        self.mood
    }

    /// Whether a change of names survives.
    pub fn naming(&mut self) -> bool {
        let mood = self.mood;
        self.survives(mood)
    }

    /// A file after the cut: what was kept of it, and some of the edits since.
    pub fn file(&mut self, mut kept: Content, edits: Vec<Edit>) -> Content {
        let mood = match (self.mood, self.dice.between(0, 3)) {
            (Mood::Mixed, 0) => Mood::Nothing,
            (Mood::Mixed, 1) => Mood::Everything,
            (mood, _) => mood,
        };
        for edit in edits {
            match &edit {
                Edit::Write { at, bytes } if mood == Mood::Mixed && self.dice.percent(50) => {
                    self.tear(&mut kept.bytes, *at, bytes);
                }
                _ if self.survives(mood) => kept.apply(&edit),
                _ => {}
            }
        }
        kept
    }

    fn survives(&mut self, mood: Mood) -> bool {
        let survives = match mood {
            Mood::Nothing => false,
            Mood::Everything => true,
            Mood::Mixed => self.dice.percent(50),
        };
        match survives {
            true => self.left += 1,
            false => self.lost += 1,
        }
        survives
    }

    /// Some sectors of a write, and perhaps the length that it gave the file.
    fn tear(&mut self, file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
        self.torn += 1;
        let end = at + bytes.len() as u64;
        let sectors: Vec<(u64, u64)> = (at / SECTOR..end.div_ceil(SECTOR))
            .map(|number| ((number * SECTOR).max(at), ((number + 1) * SECTOR).min(end)))
            .collect();
        let many = sectors.len() as u64;
        let whole: Vec<bool> = match self.dice.between(0, 3) {
            // The beginning, the end, any of them, none (the length alone).
            0 => {
                let upto = self.dice.between(0, many);
                (0..many).map(|number| number < upto).collect()
            }
            1 => {
                let from = self.dice.between(0, many);
                (0..many).map(|number| number >= from).collect()
            }
            2 => (0..many).map(|_| self.dice.percent(50)).collect(),
            _ => vec![false; sectors.len()],
        };
        let survivors = || sectors.iter().zip(&whole).filter(|(_, whole)| **whole);
        let longest = survivors().map(|((_, end), _)| *end).max().unwrap_or(0);
        let length = match self.dice.percent(50) {
            true => end,
            false => longest,
        };
        let garbage = self.dice.percent(25);
        while (file.len() as u64) < length {
            file.push(if garbage { self.dice.roll() as u8 } else { 0 });
        }
        for ((from, to), _) in survivors() {
            let source = &bytes[(from - at) as usize..(to - at) as usize];
            file[*from as usize..*to as usize].copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(seed: u64) -> (Mood, Content) {
        let kept = Content {
            bytes: vec![1; 1000],
            mode: 0o600,
        };
        let edits = vec![
            Edit::Write {
                at: 700,
                bytes: vec![2; 2000],
            },
            Edit::Write {
                at: 2700,
                bytes: vec![3; 600],
            },
        ];
        let mut weather = Weather::new(Dice::new(seed, 1));
        (weather.mood(), weather.file(kept, edits))
    }

    #[test]
    fn the_same_seed_is_the_same_cut() {
        for seed in 0..50 {
            assert_eq!(cut(seed), cut(seed));
        }
    }

    #[test]
    fn what_was_not_written_is_never_harmed() {
        for seed in 0..500 {
            assert_eq!(cut(seed).1.bytes[..700], [1; 700]);
        }
    }

    #[test]
    fn every_shape_is_drawn() {
        let cuts: Vec<Vec<u8>> = (0..500).map(|seed| cut(seed).1.bytes).collect();
        let any = |what: &dyn Fn(&[u8]) -> bool| assert!(cuts.iter().any(|bytes| what(bytes)));
        any(&|bytes| bytes == [1; 1000]); // nothing
        any(&|bytes| bytes.len() == 3300 && bytes[699..2700] == [&[1][..], &[2; 2000]].concat());
        any(&|bytes| bytes.len() == 3300 && bytes[1000..2700].iter().all(|byte| *byte == 0));
        // The second without the first; a sector of the first without its neighbour; garbage.
        any(&|bytes| bytes.ends_with(&[3; 600]) && !bytes.contains(&2));
        let is = |bytes: &[u8], from, byte| bytes.get(from..from + 512) == Some(&[byte; 512][..]);
        any(&|bytes| is(bytes, 1024, 2) && is(bytes, 1536, 0));
        any(&|bytes| bytes.iter().any(|byte| *byte > 3));
    }

    #[test]
    fn moods_are_kept() {
        for seed in 0..200 {
            match cut(seed) {
                (Mood::Nothing, left) => assert_eq!(left.bytes, [1; 1000]),
                (Mood::Everything, left) => assert_eq!(left.bytes.len(), 3300),
                (Mood::Mixed, _) => {}
            }
        }
    }
}
