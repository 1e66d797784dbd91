//! Weak shapes. A shape counts where it makes up a good part of the value: any long random text
//! holds a short run or walk by chance, and that is no weakness.
//!
//! Each detector says how many characters it covers and is linear in the text's length.

use pentad_model::assessment::Pattern;

use crate::Words;

mod context;
mod date;
mod keyboard;
mod placeholder;
pub(crate) mod run;

/// Every pattern that makes up a third of `text` or more (a quarter for words of its own
/// surroundings); stand-ins by their own rules.
pub(crate) fn find(text: &[char], words: &Words<'_>, now_year: u16) -> Vec<Pattern> {
    let share = |covered: usize, part: usize| covered > 0 && covered * part >= text.len();
    [
        (share(keyboard::covered(text), 3), Pattern::KeyboardWalk),
        (share(run::sequences(text), 3), Pattern::Sequence),
        (share(run::repeats(text), 3), Pattern::Repeat),
        (share(date::covered(text, now_year), 3), Pattern::Date),
        (placeholder::is_one(text), Pattern::Placeholder),
        (share(context::covered(text, words), 4), Pattern::Context),
    ]
    .into_iter()
    .filter_map(|(found, pattern)| found.then_some(pattern))
    .collect()
}
