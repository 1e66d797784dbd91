//! Pages, search, proofs and checkpoints of a log of several segments.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;

use super::*;

#[test]
fn pages_of_any_size_in_both_orders_give_every_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..150, 4);
    for limit in [1, 2, 7, 64, 150, 1000] {
        for order in [Order::Oldest, Order::Newest] {
            let mut found = Vec::new();
            let mut rest = Some(0..u64::MAX);
            while let Some(range) = rest {
                let page = log.page(range, order, limit).unwrap();
                assert!(page.entries.len() <= limit);
                found.extend(page.entries);
                rest = page.next;
            }
            if order == Order::Newest {
                found.reverse();
            }
            assert_eq!(found.len(), 150);
            for (n, entry) in (0..).zip(found) {
                assert_eq!((entry.sequence, &entry.record), (n, &record(n)));
                assert_eq!(entry.leaf, serde_json::to_vec(&record(n)).unwrap());
            }
        }
    }
    assert_eq!(log.page(200..300, Order::Newest, 10).unwrap().entries, []);
}

#[test]
fn search_finds_what_matches_within_its_budget_and_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..150, 4);
    let at = |n: u64| record(n).at;
    let filters = [
        Filter {
            tenant: Some("acme".parse().unwrap()),
            ..Filter::default()
        },
        Filter {
            path: Some("db/2/password".to_owned()),
            ..Filter::default()
        },
        Filter {
            path: Some("db/".to_owned()),
            ..Filter::default()
        },
        Filter {
            path: Some("db/2".to_owned()),
            ..Filter::default()
        },
        Filter {
            principal: Some("user:4".to_owned()),
            ..Filter::default()
        },
        Filter {
            action: Some("rotation.".to_owned()),
            ..Filter::default()
        },
        Filter {
            action: Some("rotation".to_owned()),
            ..Filter::default()
        },
        Filter {
            correlation: Some(record(77).correlation),
            ..Filter::default()
        },
        Filter {
            since: Some(at(20)),
            until: Some(at(40)),
            ..Filter::default()
        },
    ];
    let mut counts = Vec::new();
    for filter in &filters {
        let mut found = Vec::new();
        let mut rest = Some(0..u64::MAX);
        while let Some(range) = rest {
            let page = log.search(filter, range, 5, 20).unwrap();
            assert!(page.entries.len() <= 5 && page.examined <= 20);
            found.extend(page.entries.into_iter().map(|entry| entry.record));
            rest = page.next;
        }
        found.reverse();
        let expected: Vec<_> = records(0..150)
            .into_iter()
            .filter(|r| filter.matches(r))
            .collect();
        assert_eq!(found, expected);
        counts.push(found.len());
    }
    assert_eq!(counts, [50, 37, 150, 0, 30, 75, 0, 2, 20]);
}

#[test]
fn damage_under_a_reader_is_an_error_and_not_a_wrong_answer() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..50, 4);
    let path = dir.path().join(segment::name(0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(
        log.page(0..4, Order::Oldest, 4),
        Err(AuditError::Damaged { .. })
    ));
    assert_eq!(log.page(45..50, Order::Oldest, 9).unwrap().entries.len(), 5);
}

#[test]
fn a_record_is_proven_by_its_bytes_and_a_signed_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..50, 4);
    let key = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let public = key.public_key().as_ref();
    let sign = |checkpoint: &Checkpoint| {
        let signature = key.sign(checkpoint.body().unwrap().as_bytes());
        checkpoint
            .with_signature("log.example", public, signature.as_ref())
            .unwrap()
    };
    let old = log.head("log.example").unwrap();
    let note = sign(&old);
    log.keep_checkpoint(&note).unwrap();
    fill(&log, 50..80, 4);
    let new = sign(&log.head("log.example").unwrap());
    log.keep_checkpoint(&new).unwrap();
    assert_eq!(log.checkpoints().unwrap(), [note.clone(), new.clone()]);

    // A crash in the middle of keeping one: the next replaces it.
    let list = ledger::path(dir.path());
    let mut torn = std::fs::read(&list).unwrap();
    let whole = torn.clone();
    torn.extend(&note.as_bytes()[..70]);
    std::fs::write(&list, torn).unwrap();
    assert_eq!(log.checkpoints().unwrap().len(), 2);
    log.keep_checkpoint(&new).unwrap();
    assert_eq!(
        std::fs::read(&list).unwrap(),
        [whole, format!("{new}\n").into_bytes()].concat()
    );

    let mut lie = old.clone();
    lie.root.0[0] ^= 1;
    let refused = log.keep_checkpoint(&sign(&lie)).unwrap_err();
    assert!(matches!(
        refused,
        AuditError::Checkpoint(CheckpointError::Inconsistent { size: 50, .. })
    ));

    let kept = Checkpoint::parse_and_verify(&note, "log.example", public).unwrap();
    assert_eq!(kept, old);
    let report = verify(dir.path(), &[kept]).unwrap();
    assert!(report.is_intact());
    assert_eq!((report.proven, report.records), (50, 80));

    use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
    let root = RootHash::<sha2::Sha256>::new(old.root.0.into(), 50);
    let entry = log
        .page(33..34, Order::Oldest, 1)
        .unwrap()
        .entries
        .remove(0);
    let proof: Vec<u8> = log
        .inclusion_proof(33, 50)
        .unwrap()
        .iter()
        .flat_map(|h| h.0)
        .collect();
    root.verify_inclusion(&entry.leaf, 33, &InclusionProof::from_bytes(proof))
        .unwrap();
    let proof: Vec<u8> = log
        .consistency_proof(50, 80)
        .unwrap()
        .iter()
        .flat_map(|h| h.0)
        .collect();
    RootHash::new(log.root(80).unwrap().0.into(), 80)
        .verify_consistency(&root, &ConsistencyProof::try_from_bytes(proof).unwrap())
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_batches_read_back_after_any_reopening(
        batches in prop::collection::vec((1usize..20, any::<bool>()), 1..12),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path(), 0).unwrap();
        let mut next = 0;
        for (size, reopen) in batches {
            fill(&log, next..next + size as u64, size);
            next += size as u64;
            if reopen {
                drop(log);
                log = open(dir.path(), next).unwrap();
            }
        }
        prop_assert_eq!(all(&log), records(0..next));
        prop_assert_eq!(verify(dir.path(), &[]).unwrap().root, Some(log.root(next).unwrap()));
    }
}
