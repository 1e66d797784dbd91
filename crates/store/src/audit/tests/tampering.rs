//! Whoever can write every file of the log still can't change it unseen, if one checkpoint was kept
//! elsewhere.

use std::{collections::BTreeMap, fs};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

const SIZE: u64 = 64;

/// A log's files, relative path to content.
type Files = BTreeMap<String, Vec<u8>>;

struct Attacker {
    rng: TestRng,
    files: Files,
    leaves: Vec<Vec<u8>>,
}

impl Attacker {
    fn below(&mut self, n: usize) -> usize {
        (self.rng.next_u64() % n as u64) as usize
    }

    fn two_of(&mut self, n: usize) -> (usize, usize) {
        let a = self.below(n);
        (a, (a + 1 + self.below(n - 1)) % n)
    }

    fn segments(&self) -> Vec<String> {
        let names = self
            .files
            .keys()
            .filter(|name| name.starts_with("segment-"));
        names.cloned().collect()
    }

    /// One change to the files as they are, by somebody who doesn't know the format.
    fn crude(&mut self) -> (Files, String) {
        let mut files = self.files.clone();
        let names = self.segments();
        let (a, b) = self.two_of(names.len());
        let length = files[&names[a]].len();
        let at = self.below(length);
        let kind = self.below(5);
        match kind {
            0 => files.get_mut(&names[a]).unwrap()[at] ^= 1 << self.below(8),
            1 => files.get_mut(&names[a]).unwrap().truncate(at),
            2 => drop(files.remove(&names[a])),
            3 => {
                let other = files[&names[b]].clone();
                let one = files.insert(names[a].clone(), other).unwrap();
                files.insert(names[b].clone(), one);
            }
            _ => {
                let end = (at + 1 + self.below(400)).min(length);
                files.get_mut(&names[a]).unwrap().drain(at..end);
            }
        }
        (files, format!("crude {kind} in {} at {at}", names[a]))
    }

    /// One change to the records, by somebody who then makes everything else fit: checksums,
    /// numbers, segments, the tree, the log's own checkpoints.
    fn clever(&mut self) -> (Files, String) {
        let mut leaves = self.leaves.clone();
        let (a, b) = self.two_of(leaves.len());
        let kind = self.below(7);
        match kind {
            0 => {
                let at = self.below(leaves[a].len());
                leaves[a][at] ^= 1 << self.below(8);
            }
            1 => drop(leaves.remove(a)),
            2 => leaves.swap(a, b),
            3 => leaves.truncate(a),
            4 => leaves[a] = serde_json::to_vec(&record(1000 + b as u64)).unwrap(),
            5 => leaves.insert(a, leaves[b].clone()),
            _ => {
                let mut forged: Record = serde_json::from_slice(&leaves[a]).unwrap();
                forged.principal = "user:somebody-else".to_owned();
                leaves[a] = serde_json::to_vec(&forged).unwrap();
            }
        }
        (
            forge(&leaves, 1 + self.below(9)),
            format!("clever {kind} of {a} and {b}"),
        )
    }
}

/// A whole log of these leaves, right in everything.
fn forge(leaves: &[Vec<u8>], in_block: usize) -> Files {
    let mut files = Files::new();
    let (mut first, mut segment) = (0, Vec::new());
    let mut at = 0;
    for batch in leaves.chunks(in_block) {
        if segment.len() > 3000 {
            segment.extend(block::seal(at));
            files.insert(segment::name(first), std::mem::take(&mut segment));
            first = at;
        }
        segment.extend(block::encode(at, batch.iter().map(Vec::as_slice)));
        at += batch.len() as u64;
    }
    files.insert(segment::name(first), segment);
    let mut level: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let mut frontier = hash::Frontier::default();
    level.iter().for_each(|hash| frontier.push(*hash));
    for number in 0..8 {
        let bytes = level.iter().flat_map(|hash| hash.0).collect();
        files.insert(format!("tree/level-{number:02}"), bytes);
        level = level
            .chunks_exact(2)
            .map(|pair| hash::node_hash(pair[0], pair[1]))
            .collect();
    }
    let head = Checkpoint {
        origin: "log.example".to_owned(),
        size: leaves.len() as u64,
        root: frontier.root(),
    };
    let note = format!(
        "{}\n\u{2014} log.example {}\n\n",
        head.body().unwrap(),
        "A".repeat(92)
    );
    files.insert("checkpoints/checkpoints.log".to_owned(), note.into_bytes());
    files
}

fn lay_out(dir: &Path, present: &mut Files, wanted: &Files) {
    for gone in present.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(dir.join(gone)).unwrap();
    }
    for (name, content) in wanted {
        if present.get(name) != Some(content) {
            fs::write(dir.join(name), content).unwrap();
        }
    }
    present.clone_from(wanted);
}

#[test]
fn a_thousand_tamperings_are_found_with_one_kept_checkpoint() {
    let origin = tempfile::tempdir().unwrap();
    let log = AuditLog::open(
        origin.path(),
        Options {
            segment_bytes: 3000,
            ..small()
        },
        0,
    )
    .unwrap();
    fill(&log, 0..SIZE, 5);
    let trusted = [log.head("log.example").unwrap()];
    drop(log);
    assert!(verify(origin.path(), &trusted).unwrap().is_intact());

    // The forger's tools make logs that are right in everything, else they would prove nothing.
    let leaves: Vec<_> = records(0..SIZE)
        .iter()
        .map(|r| serde_json::to_vec(r).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    for sub in ["tree", "checkpoints"] {
        fs::create_dir(dir.path().join(sub)).unwrap();
    }
    let mut present = Files::new();
    lay_out(dir.path(), &mut present, &forge(&leaves, 5));
    let honest = verify(dir.path(), &trusted).unwrap();
    assert!(
        honest.is_intact() && honest.proven == SIZE,
        "{:?}",
        honest.findings
    );

    let mut attacker = Attacker {
        rng: TestRng::deterministic_rng(RngAlgorithm::ChaCha),
        files: forge(&leaves, 5),
        leaves,
    };
    assert!(attacker.segments().len() > 4);
    for n in 0..1000 {
        let (files, what) = if n % 2 == 0 {
            attacker.crude()
        } else {
            attacker.clever()
        };
        lay_out(dir.path(), &mut present, &files);
        let report = verify(dir.path(), &trusted).unwrap();
        assert!(!report.is_intact(), "not found: {what}");
        assert_eq!(report.proven, 0, "{what}: {:?}", report.findings);
        let clever_is_seen_by_the_checkpoint = report.findings.iter().any(|finding| {
            matches!(
                finding,
                Finding::Checkpoint { .. } | Finding::Missing { .. }
            )
        });
        assert!(
            clever_is_seen_by_the_checkpoint,
            "{what}: {:?}",
            report.findings
        );
    }
}

#[test]
fn where_the_level_files_were_left_the_changed_records_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..8, 4);
    let trusted = log.head("log.example").unwrap();
    drop(log);
    let mut forged = records(0..8);
    forged[5].principal = "user:somebody-else".to_owned();
    forged[6].principal = "user:somebody-else".to_owned();
    let leaves: Vec<_> = forged
        .iter()
        .map(|r| serde_json::to_vec(r).unwrap())
        .collect();
    let bytes = block::encode(0, leaves.iter().map(Vec::as_slice));
    fs::write(dir.path().join(segment::name(0)), bytes).unwrap();
    let findings = verify(dir.path(), &[trusted]).unwrap().findings;
    assert_eq!(findings[0], Finding::Tree { records: 5..7 });
    assert!(matches!(findings[1], Finding::Checkpoint { size: 8, .. }));
}
