//! Listings that are led: somebody else says of each path whether it is wanted, and where to look
//! next. So a page of what a narrow role may see costs what it holds, not what lies between.
//!
//! The store asks at each path that its filters leave. It never looks at more than a budget, and says
//! where it stopped: a page may be short, or empty, and still have a next one.
//!
//! To support it in a store: [`Reader::guided`] has an implementation for all, which asks for page
//! after page and ignores where the guide points to. It is right, and slow for a narrow role. A
//! store that can seek in its index does it as [`sqlite`](crate::sqlite) does; the conformance suite
//! holds both against a plain filter.

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
    /// What to do at this path.
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
    query.limit = (wanted + 1).min(MAX_PAGE);
    loop {
        let found = reader.credentials(&query).await?;
        query.after = found.items.last().map(|last| last.path.clone());
        for credential in found.items {
            let path = credential.path.clone();
            let step = match guide.at(path.as_str()) {
                Seek::Here => page.take(credential),
                Seek::From(_) => page.pass(&path),
                Seek::End => Some(page.end()),
            };
            if let Some(led) = step {
                return Ok(led);
            }
        }
        if !found.more {
            return Ok(page.end());
        }
    }
}

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
