//! Which rotations of a batch come before which.

use std::collections::{BTreeMap, BTreeSet};

use pentad_model::Path;

/// The credentials depend on one another in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these credentials depend on each other in a circle: {}; remove one `depends_on`", list(.0))]
pub struct Circle(pub Vec<Path>);

fn list(paths: &[Path]) -> String {
    paths
        .iter()
        .map(Path::as_str)
        .collect::<Vec<_>>()
        .join(" → ")
}

/// Groups of a batch in the order in which they are rotated: each credential's dependencies lie in
/// earlier groups, those outside the batch don't count. O(n + edges) look-ups in ordered maps.
pub fn groups(members: &BTreeMap<Path, Vec<Path>>) -> Result<Vec<Vec<Path>>, Circle> {
    let mut waiting: BTreeMap<&Path, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for (path, depends_on) in members {
        let needs: BTreeSet<&Path> = depends_on
            .iter()
            .filter(|needed| members.contains_key(*needed))
            .collect();
        waiting.insert(path, needs.len());
        for needed in needs {
            dependents.entry(needed).or_default().push(path);
        }
    }
    let mut groups = Vec::new();
    let mut ready: Vec<&Path> = waiting
        .iter()
        .filter(|(_, needs)| **needs == 0)
        .map(|(path, _)| *path)
        .collect();
    while !ready.is_empty() {
        let mut next = Vec::new();
        for path in &ready {
            waiting.remove(*path);
            for dependent in dependents.get(*path).into_iter().flatten() {
                if let Some(needs) = waiting.get_mut(*dependent) {
                    *needs -= 1;
                    if *needs == 0 {
                        next.push(*dependent);
                    }
                }
            }
        }
        groups.push(ready.into_iter().cloned().collect());
        next.sort();
        ready = next;
    }
    if waiting.is_empty() {
        Ok(groups)
    } else {
        Err(Circle(circle(
            &waiting.into_keys().cloned().collect(),
            members,
        )))
    }
}

/// One circle among what is left when everything else has its place.
fn circle(left: &BTreeSet<Path>, members: &BTreeMap<Path, Vec<Path>>) -> Vec<Path> {
    let mut walk: Vec<Path> = Vec::new();
    let mut at = left.first().cloned();
    while let Some(path) = at {
        if let Some(start) = walk.iter().position(|seen| *seen == path) {
            walk.drain(..start);
            walk.push(path);
            return walk;
        }
        at = members
            .get(&path)
            .and_then(|needs| needs.iter().find(|needed| left.contains(*needed)))
            .cloned();
        walk.push(path);
    }
    walk
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn batch(edges: &[(&str, &[&str])]) -> BTreeMap<Path, Vec<Path>> {
        edges
            .iter()
            .map(|(path, needs)| {
                (
                    path.parse().unwrap(),
                    needs.iter().map(|n| n.parse().unwrap()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn dependencies_come_first() {
        let order = groups(&batch(&[
            ("app", &["db", "elsewhere"]),
            ("db", &["root"]),
            ("root", &[]),
        ]));
        let names: Vec<Vec<String>> = order
            .unwrap()
            .iter()
            .map(|group| group.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(names, [["root"], ["db"], ["app"]]);
    }

    #[test]
    fn a_circle_is_named() {
        let error = groups(&batch(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["b"]),
            ("d", &[]),
        ]));
        assert_eq!(
            error
                .unwrap_err()
                .0
                .iter()
                .map(Path::as_str)
                .collect::<Vec<_>>(),
            ["b", "c", "b"]
        );
    }

    #[test]
    fn depending_on_oneself_is_a_circle() {
        assert!(groups(&batch(&[("a", &["a"])])).is_err());
    }
}
