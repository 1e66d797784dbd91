//! Listings that are led: somebody else says of each path whether it is wanted, and where to look
//! next. So a page of what a narrow role may see costs what it holds, not what lies between.
//!
//! The store asks at each path that its filters leave. It never looks at more than a budget, and says
//! where it stopped: a page may be short, or empty, and still have a next one.
//!
//! To support it in a store: [`Reader::guided`] has an implementation for all, which asks for pages
//! and begins each where the guide points to. That is one question for each jump. A store whose index
//! is in this process seeks in it, as [`sqlite`](crate::sqlite) does; the conformance suite holds both
//! against a plain filter.

use pentad_model::{Credential, Path};

use crate::{CredentialQuery, Reader, StoreError, read::MAX_PAGE};

/// What to do at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seek {
    /// It is wanted.
    Here,
    /// It is not, nor is any before this text, which sorts after the path. It need not be a path; it
    /// may end with a zero byte, which sorts before everything else that could follow.
    From(String),
    /// It is not, nor is any later one.
    End,
}

/// Says which paths are wanted. The same for the same path, for as long as a listing goes.
pub trait Guide: Send + Sync {
    /// What to do at this path, or at any text that is none: then `Here` says only that something may
    /// be wanted behind it.
    fn at(&self, path: &str) -> Seek;
}

/// A page of a led listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Led {
    /// What is wanted, in the order of the paths.
    pub items: Vec<Credential>,
    /// Go on after this path; `None` if there is nothing more. It is the last item's if the page is
    /// full; else it is where the budget ended, and *not* for the eyes of whoever the guide keeps
    /// from it.
    pub next: Option<Path>,
}

/// Rows that are asked for after a jump: it may land before one row, or before many.
const LANDING: usize = 8;

/// [`Reader::guided`] for any store.
pub(crate) async fn plainly<R: Reader + ?Sized>(
    reader: &R,
    query: &CredentialQuery,
    guide: &dyn Guide,
    budget: usize,
) -> Result<Led, StoreError> {
    let wanted = query.limit.clamp(1, MAX_PAGE);
    let mut page = Collected::new(wanted, budget);
    let mut query = query.clone();
    // One more than wanted tells whether there are more.
    let most = (wanted + 1).min(MAX_PAGE);
    query.limit = most;
    loop {
        let found = reader.credentials(&query).await?;
        let mut from = String::new();
        query.limit = (query.limit * 2).min(most);
        query.after = found.items.last().map(|last| last.path.clone());
        for credential in found.items {
            let path = credential.path.clone();
            // Behind a jump that ends within this page.
            if *path.as_str() < *from {
                continue;
            }
            let step = match guide.at(path.as_str()) {
                Seek::Here => page.take(credential),
                Seek::From(next) => {
                    from = next;
                    page.pass(&path)
                }
                Seek::End => Some(page.end()),
            };
            if let Some(led) = step {
                return Ok(led);
            }
        }
        if !found.more {
            return Ok(page.end());
        }
        if let Some(before) = before(&from)
            && query.after.as_ref().is_some_and(|after| before > *after)
        {
            query.after = Some(before);
            query.limit = LANDING.min(most);
        }
    }
}

/// A path that sorts before `text`, with as few between them as can be said in a path; `None` where
/// nothing useful can. Only paths can be asked to begin after.
fn before(text: &str) -> Option<Path> {
    if let Some(path) = text.strip_suffix('\0') {
        return path.parse().ok();
    }
    let last = text.chars().next_back()?;
    let stem = &text[..text.len() - last.len_utf8()];
    let place = ALPHABET.find(last).filter(|place| *place > 0);
    let previous = place.and_then(|place| ALPHABET[..place].chars().next_back());
    let path = match previous {
        // Whatever goes on from here sorts before the text; `z` is the last that a path may hold.
        Some(previous) => format!("{stem}{previous}zzzz").parse().ok(),
        None => None,
    };
    path.or_else(|| stem.trim_end_matches('/').parse().ok())
}

/// What a path may hold, in the order of bytes.
const ALPHABET: &str = "+-./0123456789@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// A page that is being filled.
pub(crate) struct Collected {
    items: Vec<Credential>,
    wanted: usize,
    left: usize,
}

impl Collected {
    pub(crate) fn new(wanted: usize, budget: usize) -> Self {
        Self {
            items: Vec::new(),
            wanted: wanted.clamp(1, MAX_PAGE),
            left: budget.max(1),
        }
    }

    /// Takes an item. Gives the page if it is full, and more than full: there is a next one.
    pub(crate) fn take(&mut self, item: Credential) -> Option<Led> {
        if self.items.len() == self.wanted {
            return Some(self.stop_at_last());
        }
        let path = item.path.clone();
        self.items.push(item);
        self.pass(&path)
    }

    /// Counts a path that was looked at. Gives the page if that was the last one of the budget.
    pub(crate) fn pass(&mut self, path: &Path) -> Option<Led> {
        self.left -= 1;
        match (self.left, self.items.len() == self.wanted) {
            (0, true) => Some(self.stop_at_last()),
            (0, false) => Some(Led {
                items: std::mem::take(&mut self.items),
                next: Some(path.clone()),
            }),
            _ => None,
        }
    }

    /// The page, if nothing comes after it.
    pub(crate) fn end(&mut self) -> Led {
        Led {
            items: std::mem::take(&mut self.items),
            next: None,
        }
    }

    fn stop_at_last(&mut self) -> Led {
        let next = self.items.last().map(|last| last.path.clone());
        Led {
            items: std::mem::take(&mut self.items),
            next,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_asked_for_instead_of_a_text_sorts_before_it(
            text in "[+./0-9@A-Z_a-z-]{1,8}(/|0|\0)?",
        ) {
            if let Some(path) = before(&text) {
                prop_assert!(*path.as_str() < *text, "{path} for {text:?}");
            }
        }
    }

    #[test]
    fn little_lies_between_a_text_and_what_is_asked_for() {
        for (text, path) in [
            ("team-7/a\0", Some("team-7/a")),
            ("team-70", Some("team-7/zzzz")),
            ("team-7/app/db", Some("team-7/app/dazzzz")),
            ("a", Some("_zzzz")),
            ("+", None),
        ] {
            assert_eq!(
                before(text).map(|path| path.to_string()).as_deref(),
                path,
                "{text:?}"
            );
        }
    }
}
