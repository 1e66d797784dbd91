//! "Did you mean": the path closest to a mistyped one.

use pentad_model::{Path, Verb};
use pentad_store::CredentialQuery;

use super::{Caller, Pentad};

/// Paths compared at most: those that share the mistyped path's beginning, a page of them.
const CANDIDATES: usize = 500;

impl Pentad {
    /// The path closest to `path` of those that the caller may see: searched below its parent, then its grandparent, one
    /// page each, so that the cost does not grow with the estate.
    pub(super) async fn nearest(&self, caller: &Caller, path: &Path) -> Option<Path> {
        let tenant = caller.context.tenant.clone();
        let text = path.as_str();
        let mut prefixes: Vec<&str> = text
            .match_indices('/')
            .map(|(at, _)| &text[..=at])
            .rev()
            .take(2)
            .collect();
        prefixes.push("");
        for prefix in prefixes {
            let query = CredentialQuery::below(tenant.clone(), prefix, CANDIDATES);
            let page = self.0.reader.credentials(&query).await.ok()?;
            let farthest = 2 + text.len() / 6;
            let best = page
                .items
                .into_iter()
                .filter(|credential| {
                    let length = credential.path.as_str().len();
                    length.abs_diff(text.len()) <= farthest
                        && caller.rights.access.allows(Verb::List, &credential.path)
                })
                .map(|credential| (distance(text, credential.path.as_str()), credential.path))
                .min();
            if let Some((distance, nearest)) = best
                && distance <= farthest
            {
                return Some(nearest);
            }
        }
        None
    }
}

/// Levenshtein distance over bytes; paths are ASCII and short.
fn distance(left: &str, right: &str) -> usize {
    let right = right.as_bytes();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshteins() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
