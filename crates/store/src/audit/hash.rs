//! The hashes of RFC 9162 section 2.1, the same as RFC 6962's: SHA-256, leaves prefixed with `0x00`,
//! inner nodes with `0x01`.

use std::fmt;

use sha2::{Digest, Sha256};

/// A SHA-256 value: a leaf, a node or a root.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The hash of a record's bytes, as a leaf of the tree.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    Hash(
        Sha256::new_with_prefix([0])
            .chain_update(leaf)
            .finalize()
            .into(),
    )
}

pub(super) fn node_hash(left: Hash, right: Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    Hash(Sha256::digest(bytes).into())
}

/// The root of no records.
pub(super) fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// The right edge of a growing tree: what is needed to know its root, and no more. One hash for
/// each bit that is set in the size.
#[derive(Debug, Default)]
pub struct Frontier {
    nodes: Vec<(u32, Hash)>,
    pub(super) size: u64,
}

impl Frontier {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let (mut level, mut node) = (0, leaf);
        while let Some((_, left)) = self.nodes.pop_if(|(l, _)| *l == level) {
            node = node_hash(left, node);
            level += 1;
        }
        self.nodes.push((level, node));
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Hash {
        self.nodes
            .iter()
            .rev()
            .map(|(_, node)| *node)
            .reduce(|right, left| node_hash(left, right))
            .unwrap_or_else(empty_root)
    }
}
