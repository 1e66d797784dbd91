//! Searches of a log of several segments, beside looking at every record; with side files that are
//! there, missing, torn, or of other records.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

/// Large enough that a log of some hundred has many groups, and few enough names that most are there.
fn large(n: u64, seed: u64) -> Record {
    let mixed = (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let mut record = record(n);
    // Some that are everywhere, some that are in one place, one that must be escaped.
    record.principal = match mixed % 7 {
        0 => format!("user:rare-{}", n / 50),
        1 => "user:\"quoted\\ü".to_owned(),
        _ => "user:ann".to_owned(),
    };
    let action = ["credential.read", "credential.write", "auth.login"];
    action[(mixed % 3) as usize].clone_into(&mut record.action);
    record.path = match n % 5 {
        0 => None,
        _ => format!("db/{}/{}", n / 40, mixed % 3).parse().ok(),
    };
    // Clocks of several nodes: not in order.
    record.at = Timestamp(1000 * n.cast_signed() + (mixed % 9000).cast_signed());
    record.detail = "x".repeat((mixed % 6000) as usize);
    record
}

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        ..Options::default()
    }
}

fn append(log: &AuditLog, numbers: std::ops::Range<u64>, seed: u64) {
    let records: Vec<_> = numbers.map(|n| large(n, seed)).collect();
    run(async {
        for batch in records.chunks(3) {
            log.append_all(batch).await.unwrap();
        }
    });
}

fn found(log: &AuditLog, filter: &Filter, limit: usize, budget: u64) -> Vec<Record> {
    let mut found = Vec::new();
    let mut rest = Some(0..u64::MAX);
    while let Some(range) = rest {
        let page = log.search(filter, range, limit, budget).unwrap();
        assert!(page.entries.len() <= limit && page.examined <= budget);
        found.extend(page.entries.into_iter().map(|entry| entry.record));
        rest = page.next;
    }
    found.reverse();
    found
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let text = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        prop::option::weighted(0.4, prop::sample::select(texts))
    };
    (
        text(&["user:ann", "user:rare-2", "user:\"quoted\\ü", "user:nobody"]),
        text(&["auth.login", "credential.", "credential", "rotation.step"]),
        text(&["db/3/1", "db/7/0", "db/3/", "db/3", "db/"]),
        prop::option::weighted(0.2, 0u64..250),
        prop::option::weighted(0.3, prop::sample::select(vec!["acme", "default", "other"])),
        prop::option::weighted(0.3, (0i64..400, 0i64..100)),
    )
        .prop_map(
            |(principal, action, path, correlation, tenant, time)| Filter {
                tenant: tenant.map(|name| name.parse().unwrap()),
                path,
                principal,
                action,
                correlation: correlation.map(|n| Id::from_u128(n.into())),
                since: time.map(|(since, _)| Timestamp(1000 * since)),
                until: time.map(|(since, long)| Timestamp(1000 * (since + long))),
            },
        )
}

fn side_files(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("search")).into_iter().flatten();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// What can become of a side file.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Stays,
    Goes,
    /// A bit is another one.
    Flips(prop::sample::Index),
    /// As after a power cut: its length without its end, or without anything.
    Torn(prop::sample::Index, bool),
    /// Its place is taken by that of another segment.
    Swapped,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Stays),
        Just(Fate::Goes),
        any::<prop::sample::Index>().prop_map(Fate::Flips),
        (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, zeros)| Fate::Torn(at, zeros)),
        Just(Fate::Swapped),
    ]
}

fn befall(file: &Path, fate: Fate, other: &Path) {
    let mut bytes = fs::read(file).unwrap();
    match fate {
        Fate::Stays => {}
        Fate::Goes => return fs::remove_file(file).unwrap(),
        Fate::Flips(at) => {
            let bit = at.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Fate::Torn(at, zeros) => {
            let (at, length) = (at.index(bytes.len()), bytes.len());
            bytes.truncate(at);
            if zeros {
                bytes.resize(length, 0);
            }
        }
        // The other one may have gone before.
        Fate::Swapped => bytes = fs::read(other).unwrap_or(bytes),
    }
    fs::write(file, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn a_search_finds_what_looking_at_every_record_finds(
        seed in any::<u64>(),
        size in 250u64..450,
        filters in prop::collection::vec(any_filter(), 12),
        fates in prop::collection::vec(any_fate(), 8),
        (limit, budget) in (1usize..50, prop_oneof![1u64..60, Just(u64::MAX)]),
        reopen in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(dir.path(), options(), 0).unwrap();
        append(&log, 0..size, seed);
        let records: Vec<_> = (0..size).map(|n| large(n, seed)).collect();
        let files = side_files(dir.path());
        prop_assert_eq!(files.len(), log.shared.layout.read().firsts.len() - 1);
        if reopen {
            // Otherwise what is in memory serves.
            drop(log);
            for (file, fate) in files.iter().zip(fates) {
                befall(file, fate, &files[0]);
            }
            log = AuditLog::open(dir.path(), options(), size).unwrap();
        }
        for filter in &filters {
            let expected: Vec<_> =
                records.iter().filter(|record| filter.matches(record)).cloned().collect();
            let found = found(&log, filter, limit, budget);
            prop_assert_eq!(found.len(), expected.len(), "{:?}", filter);
            prop_assert_eq!(found, expected, "{:?}", filter);
        }
    }

    #[test]
    fn arbitrary_side_files_never_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300), begin in any::<bool>(),
    ) {
        if begin && bytes.len() > 12 {
            bytes[..8].copy_from_slice(b"PAUX\0\0\0\x01");
            let end = bytes.len() - 4;
            let crc = crc32fast::hash(&bytes[..end]).to_be_bytes();
            bytes[end..].copy_from_slice(&crc);
        }
        let _ = shelf::decode(&bytes);
    }
}

#[test]
fn what_is_rare_is_found_without_looking_at_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), options(), 0).unwrap();
    append(&log, 0..1000, 7);
    let path = "db/3/1".to_owned();
    let rare = Filter {
        path: Some(path),
        ..Filter::default()
    };
    for reopened in [false, true] {
        let log = match reopened {
            false => &log,
            // Side files serve, and nothing is made again.
            true => &AuditLog::open(&copy(dir.path()), options(), 1000).unwrap(),
        };
        let page = log.search(&rare, 0..u64::MAX, 1000, u64::MAX).unwrap();
        assert!(!page.entries.is_empty());
        assert!(page.examined < 200, "{}", page.examined);
        assert_eq!(page.next, None);
    }
}

/// A copy of a log that is open.
fn copy(dir: &Path) -> PathBuf {
    let copy = dir.join("copy");
    for place in ["", "search", "tree"] {
        fs::create_dir_all(copy.join(place)).unwrap();
        for file in fs::read_dir(dir.join(place)).unwrap() {
            let file = file.unwrap();
            if file.file_type().unwrap().is_file() {
                fs::copy(file.path(), copy.join(place).join(file.file_name())).unwrap();
            }
        }
    }
    copy
}

/// Segments of the same numbers and of the same length, with other records in them.
#[test]
fn the_side_file_of_records_that_a_repair_took_away_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let fill = |principal: &str, high_water| {
        let log = AuditLog::open(dir.path(), small(), high_water).unwrap();
        run(async {
            for n in high_water..100 {
                let mut record = record(n);
                principal.clone_into(&mut record.principal);
                log.append(&record).await.unwrap();
            }
        });
    };
    fill("user:old", 0);
    let firsts = segment::list(dir.path()).unwrap();
    let files = side_files(dir.path());
    assert!(files.len() > 3);
    // The second segment is damaged at its beginning: all from there on goes.
    let path = dir.path().join(segment::name(firsts[1]));
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let kept = repair(dir.path()).unwrap().kept;
    assert_eq!(kept, firsts[1]);
    let old: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    fill("user:new", kept);
    for (file, bytes) in files.iter().zip(old) {
        // As if the new ones had not been written, for want of space.
        fs::write(file, bytes).unwrap();
    }
    let log = open(dir.path(), 100).unwrap();
    let new = Filter {
        principal: Some("user:new".to_owned()),
        ..Filter::default()
    };
    let page = log.search(&new, 0..u64::MAX, 1000, u64::MAX).unwrap();
    assert_eq!(page.entries.len() as u64, 100 - kept);
}

#[test]
fn a_side_file_that_leads_astray_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), options(), 0).unwrap();
    append(&log, 0..300, 3);
    drop(log);
    let file = side_files(dir.path()).remove(0);
    // Whole and of the right records, but its groups begin where no block does.
    let (of, index) = shelf::decode(&fs::read(&file).unwrap()).unwrap();
    let mut groups = index.groups().to_vec();
    groups
        .iter_mut()
        .skip(1)
        .for_each(|group| group.offset += 1);
    shelf::keep(dir.path(), &of, &index::Index::of(groups, of.length));
    let log = AuditLog::open(dir.path(), options(), 300).unwrap();
    let all = Filter {
        action: Some("credential.".to_owned()),
        ..Filter::default()
    };
    let expected = (0..300).map(|n| large(n, 3)).filter(|it| all.matches(it));
    assert_eq!(
        found(&log, &all, 1000, u64::MAX),
        expected.collect::<Vec<_>>()
    );
    let (_, again) = shelf::decode(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(again.groups(), index.groups());
    // Or beyond the segment's end: nobody reads as much as it says.
    let mut groups = index.groups().to_vec();
    groups.last_mut().unwrap().offset = of.length + (1 << 40);
    shelf::keep(dir.path(), &of, &index::Index::of(groups, of.length));
    assert!(shelf::decode(&fs::read(&file).unwrap()).is_none());
}

#[test]
fn a_side_file_that_was_made_to_hide_records_is_found_by_verification() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), options(), 0).unwrap();
    append(&log, 0..300, 3);
    drop(log);
    let firsts = segment::list(dir.path()).unwrap();
    assert!(verify(dir.path(), &[]).unwrap().is_intact());
    let file = shelf::path(dir.path(), firsts[1]);
    let whole = fs::read(&file).unwrap();
    let (of, index) = shelf::decode(&whole).unwrap();
    let mut groups = index.groups().to_vec();
    groups[1].summary = summary::Marks::default().summary();
    let sequence = groups[1].first;
    shelf::keep(dir.path(), &of, &index::Index::of(groups, of.length));
    let report = verify(dir.path(), &[]).unwrap();
    let hidden = Finding::Hidden {
        file: file.clone(),
        sequence,
    };
    assert_eq!(report.findings, [hidden]);

    // One that nobody believes hides nothing.
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(verify(dir.path(), &[]).unwrap().is_intact());
    fs::copy(shelf::path(dir.path(), firsts[0]), &file).unwrap();
    assert!(verify(dir.path(), &[]).unwrap().is_intact());
}
