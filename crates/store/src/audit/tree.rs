//! The Merkle tree over the records (RFC 9162 section 2.1, the same as RFC 6962's): SHA-256, leaves
//! prefixed with `0x00`, inner nodes with `0x01`.
//!
//! `tree/level-NN` holds the completed nodes of one level, 32 bytes each: number `i` of level `l`
//! covers the records from `i * 2^l` to `(i + 1) * 2^l - 1`. The files are a cache of what the
//! segments say: fsynced before a segment gets a successor, recomputed at every start for the last
//! segment, and whole if they are lost. `verify` never believes them.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::{
    error::AuditError,
    hash::{Hash, empty_root, node_hash},
    segment,
};

/// One level: what is in its file, and behind it what could not be written yet.
#[derive(Debug)]
struct Level {
    file: File,
    path: PathBuf,
    written: u64,
    waiting: Vec<Hash>,
}

impl Level {
    /// Opens a level and forgets what it has beyond `keep` nodes.
    fn open(dir: &Path, number: usize, keep: u64) -> Result<Self, AuditError> {
        let path = level_path(dir, number);
        let attempt = || {
            let file = segment::writable()
                .create(true)
                .truncate(false)
                .open(&path)?;
            let written = (file.metadata()?.len() / 32).min(keep);
            file.set_len(written * 32)?;
            Ok((file, written))
        };
        let (file, written) = attempt().map_err(|e| AuditError::io(&path, &e))?;
        Ok(Self {
            file,
            path,
            written,
            waiting: Vec::new(),
        })
    }

    fn count(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }

    fn node(&self, index: u64) -> Result<Hash, AuditError> {
        if let Some(behind) = index.checked_sub(self.written)
            && let Some(hash) = self.waiting.get(behind as usize)
        {
            return Ok(*hash);
        }
        let mut bytes = [0; 32];
        self.file
            .read_exact_at(&mut bytes, index * 32)
            .map_err(|e| AuditError::io(&self.path, &e))?;
        Ok(Hash(bytes))
    }

    fn flush(&mut self) -> Result<(), AuditError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.waiting.iter().flat_map(|hash| hash.0).collect();
        self.file
            .write_all_at(&bytes, self.written * 32)
            .map_err(|e| AuditError::io(&self.path, &e))?;
        self.written += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}

pub(super) fn level_path(dir: &Path, number: usize) -> PathBuf {
    dir.join("tree").join(format!("level-{number:02}"))
}

/// The tree with all its completed nodes.
#[derive(Debug)]
pub(super) struct Tree {
    dir: PathBuf,
    levels: Vec<Level>,
    /// Whether nodes were made again that the next start will believe.
    pub(super) mended: bool,
}

impl Tree {
    /// Opens the level files and believes them up to `trusted` records; the caller appends the
    /// leaves from [`size`](Self::size) on.
    pub(super) fn open(dir: &Path, trusted: u64) -> Result<Self, AuditError> {
        segment::make_dir(&dir.join("tree"))?;
        let mut tree = Self {
            dir: dir.to_owned(),
            levels: vec![Level::open(dir, 0, trusted)?],
            mended: false,
        };
        let mut number = 1;
        // A level that lacks nodes which the one below it has was lost: it is made again. Levels
        // above the top one may be left from a longer log and must not come back.
        while tree.size() >> number > 0 || level_path(dir, number).exists() {
            let expected = tree.size() >> number;
            let mut level = Level::open(dir, number, expected)?;
            while level.count() < expected {
                tree.mended = true;
                let index = level.count() * 2;
                let below = &tree.levels[number - 1];
                level
                    .waiting
                    .push(node_hash(below.node(index)?, below.node(index + 1)?));
                if level.waiting.len() >= 4096 {
                    level.flush()?;
                }
            }
            tree.levels.push(level);
            number += 1;
        }
        Ok(tree)
    }

    /// How many records it covers.
    pub(super) fn size(&self) -> u64 {
        self.levels.first().map_or(0, Level::count)
    }

    /// Adds a leaf and the nodes that it completes, in memory.
    pub(super) fn push(&mut self, leaf: Hash) -> Result<(), AuditError> {
        let mut node = leaf;
        for number in 0.. {
            if self.levels.len() == number {
                self.levels.push(Level::open(&self.dir, number, 0)?);
            }
            let level = &mut self.levels[number];
            let index = level.count();
            level.waiting.push(node);
            if index.is_multiple_of(2) {
                break;
            }
            node = node_hash(level.node(index - 1)?, node);
        }
        Ok(())
    }

    /// Writes what waits in memory. On failure it goes on waiting, and nothing is lost.
    pub(super) fn flush(&mut self) -> Result<(), AuditError> {
        self.levels.iter_mut().try_for_each(Level::flush)
    }

    /// Makes it durable: what is before the last segment is believed at the next start.
    pub(super) fn sync(&mut self) -> Result<(), AuditError> {
        self.flush()?;
        for level in &self.levels {
            level
                .file
                .sync_all()
                .map_err(|e| AuditError::fatal("fsync of", &level.path, &e))?;
        }
        segment::sync_dir(&self.dir.join("tree"))?;
        self.mended = false;
        Ok(())
    }

    /// The root over the first `size` records.
    pub(super) fn root(&self, size: u64) -> Result<Hash, AuditError> {
        self.check("tree size", size, size)?;
        if size == 0 {
            return Ok(empty_root());
        }
        self.subtree(0, size)
    }

    /// RFC 9162 section 2.1.3.1: the siblings from leaf `index` up to the root over `size` records.
    pub(super) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, AuditError> {
        self.check("tree size", size, size)?;
        if index >= size {
            return Err(AuditError::OutOfRange {
                what: "record",
                asked: index,
                size,
            });
        }
        let mut proof = Vec::new();
        let (mut begin, mut end) = (0, size);
        while end - begin > 1 {
            let middle = begin + split(end - begin);
            if index < middle {
                proof.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                proof.push(self.subtree(begin, middle)?);
                begin = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// RFC 9162 section 2.1.4.1: that the first `old` of `new` records are the tree of size `old`.
    /// Empty for `old` of 0 or `new`.
    pub(super) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, AuditError> {
        self.check("tree size", new, new)?;
        if old > new {
            return Err(AuditError::OutOfRange {
                what: "tree size",
                asked: old,
                size: new,
            });
        }
        let mut proof = Vec::new();
        if old == 0 || old == new {
            return Ok(proof);
        }
        // Descend to the subtree whose end is `old`. While its beginning is 0 the verifier knows
        // its hash: it is the old root.
        let (mut begin, mut end) = (0, new);
        while end != old {
            let middle = begin + split(end - begin);
            if old <= middle {
                proof.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                proof.push(self.subtree(begin, middle)?);
                begin = middle;
            }
        }
        if begin != 0 {
            proof.push(self.subtree(begin, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hash over the records `begin..end`, where `begin` is a multiple of the smallest power of
    /// two that is at least as large as the range: so every full part is one stored node.
    fn subtree(&self, begin: u64, end: u64) -> Result<Hash, AuditError> {
        let mut parts = Vec::new();
        let mut at = begin;
        while at < end {
            let level = (end - at).ilog2();
            let number = level as usize;
            let found = self.levels.get(number).ok_or(AuditError::OutOfRange {
                what: "tree size",
                asked: end,
                size: self.size(),
            })?;
            parts.push(found.node(at >> level)?);
            at += 1 << level;
        }
        Ok(parts
            .into_iter()
            .rev()
            .reduce(|right, left| node_hash(left, right))
            .unwrap_or_else(empty_root))
    }

    fn check(&self, what: &'static str, asked: u64, end: u64) -> Result<(), AuditError> {
        let size = self.size();
        if end > size {
            return Err(AuditError::OutOfRange { what, asked, size });
        }
        Ok(())
    }
}

/// The largest power of two that is smaller than `n`, for `n` of at least two.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use ct_merkle::{
        ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree,
    };
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;
    use crate::audit::hash::{Frontier, leaf_hash};

    fn leaf(i: u64) -> Vec<u8> {
        format!("record {i}").into_bytes()
    }

    fn tree_of(dir: &Path, size: u64) -> Tree {
        let mut tree = Tree::open(dir, u64::MAX).unwrap();
        for i in tree.size()..size {
            tree.push(leaf_hash(&leaf(i))).unwrap();
            if i % 3 == 0 {
                tree.flush().unwrap();
            }
        }
        tree
    }

    fn bytes(proof: &[Hash]) -> Vec<u8> {
        proof.iter().flat_map(|hash| hash.0).collect()
    }

    fn root_hash(tree: &Tree, size: u64) -> RootHash<Sha256> {
        RootHash::new(tree.root(size).unwrap().0.into(), size)
    }

    #[test]
    fn every_proof_up_to_130_records_convinces_an_independent_verifier() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree_of(dir.path(), 130);
        let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        let mut frontier = Frontier::default();
        assert_eq!(tree.root(0).unwrap().0, other.root().as_bytes().as_slice());
        for size in 1..=130 {
            other.push(leaf(size - 1));
            frontier.push(leaf_hash(&leaf(size - 1)));
            let root = root_hash(&tree, size);
            assert!(root == other.root(), "root of {size}");
            assert_eq!(frontier.root(), tree.root(size).unwrap());
            for index in 0..size {
                let proof = bytes(&tree.inclusion(index, size).unwrap());
                root.verify_inclusion(&leaf(index), index, &InclusionProof::from_bytes(proof))
                    .unwrap_or_else(|e| panic!("inclusion of {index} in {size}: {e:?}"));
            }
            for old in 1..=size {
                let proof = bytes(&tree.consistency(old, size).unwrap());
                let proof = ConsistencyProof::try_from_bytes(proof).unwrap();
                root.verify_consistency(&root_hash(&tree, old), &proof)
                    .unwrap_or_else(|e| panic!("consistency of {old} with {size}: {e:?}"));
            }
        }
    }

    #[test]
    fn proofs_beyond_the_tree_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree_of(dir.path(), 5);
        assert!(tree.root(6).is_err());
        assert!(tree.inclusion(5, 5).is_err());
        assert!(tree.inclusion(0, 6).is_err());
        assert!(tree.consistency(4, 3).is_err());
        assert!(tree.consistency(1, 6).is_err());
    }

    #[test]
    fn lost_or_cut_levels_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = tree_of(dir.path(), 77);
        let root = tree.root(77).unwrap();
        tree.flush().unwrap();
        drop(tree);
        std::fs::remove_file(level_path(dir.path(), 2)).unwrap();
        std::fs::write(level_path(dir.path(), 3), [0; 40]).unwrap();
        std::fs::File::options()
            .write(true)
            .open(level_path(dir.path(), 3))
            .unwrap()
            .set_len(0)
            .unwrap();
        let tree = tree_of(dir.path(), 77);
        assert_eq!(tree.root(77).unwrap(), root);
        assert_eq!(tree.inclusion(9, 77).unwrap().len(), 7);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_shorter_tree_grown_again_is_the_same_tree(
            size in 1u64..400, keep in 0u64..400, index in 0u64..400, old in 1u64..400,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut tree = tree_of(dir.path(), size);
            tree.flush().unwrap();
            let root = tree.root(size).unwrap();
            drop(tree);
            prop_assert!(Tree::open(dir.path(), keep).unwrap().size() <= keep);
            let tree = tree_of(dir.path(), size);
            prop_assert_eq!(tree.root(size).unwrap(), root);
            let (index, old) = (index % size, old % size + 1);
            let proof = InclusionProof::from_bytes(bytes(&tree.inclusion(index, size).unwrap()));
            prop_assert!(root_hash(&tree, size).verify_inclusion(&leaf(index), index, &proof).is_ok());
            let proof = bytes(&tree.consistency(old, size).unwrap());
            let proof = ConsistencyProof::try_from_bytes(proof).unwrap();
            prop_assert!(
                root_hash(&tree, size).verify_consistency(&root_hash(&tree, old), &proof).is_ok()
            );
        }
    }
}
