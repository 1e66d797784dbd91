//! Pages of listings.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Items of a page if none is asked for.
const DEFAULT: usize = 100;
/// The most items of a page.
const MOST: usize = 1000;

/// One page of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items. A page may hold fewer than were asked for, or none, and still have a next one.
    pub items: Vec<T>,
    /// Where to go on: send it back as `after` (or `before`, where the newest come first); null at
    /// the end.
    pub next: Option<String>,
}

/// Which page.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `next` of the page before.
    pub after: Option<String>,
    /// Items of the page, 1 to 1000; 100 if not given.
    pub limit: Option<usize>,
}

/// The limit that applies.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        other => Err(Problem::invalid(format!(
            "a page has 1 to {MOST} items, not {other}"
        ))),
    }
}

/// A page of a listing that tells itself where the next one begins.
pub(crate) fn of_listed<M, T: From<M>>(page: pentad_agents::operations::Listed<M>) -> Page<T> {
    Page {
        items: page.items.into_iter().map(T::from).collect(),
        next: page.next,
    }
}

/// A page of the model as one of the wire; `key` tells where the next one begins.
pub(crate) fn of_page<M, T: From<M>>(
    page: pentad_agents::operations::Page<M>,
    key: impl Fn(&M) -> String,
) -> Page<T> {
    let next = page.items.last().filter(|_| page.more).map(key);
    Page {
        items: page.items.into_iter().map(T::from).collect(),
        next,
    }
}
