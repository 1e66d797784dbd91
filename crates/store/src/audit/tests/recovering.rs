//! What a crash leaves is mended; what it can't leave is refused, and repaired on request.

use std::fs;

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn recover(dir: &Path, high_water: u64) -> Result<u64, AuditError> {
    recovery::recover(dir, high_water, 100, faults::Faults::default())
        .map(|recovered| recovered.layout.size)
}

#[test]
fn a_torn_end_is_cut_where_the_high_water_mark_allows_it_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(segment::name(0));
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..4, 2);
    let before = path.metadata().unwrap().len() as usize;
    fill(&log, 4..5, 1);
    drop(log);
    let whole = fs::read(&path).unwrap();
    for cut in before..whole.len() {
        let mut zeros = whole[..cut].to_vec();
        zeros.resize(whole.len(), 0);
        for torn in [&whole[..cut], &zeros] {
            if torn == whole {
                continue; // the block ended in zeros
            }
            fs::write(&path, torn).unwrap();
            assert!(recover(dir.path(), 5).is_err(), "cut at {cut}");
            assert_eq!(fs::read(&path).unwrap(), torn, "refusing changes nothing");
            assert_eq!(recover(dir.path(), 4), Ok(4), "cut at {cut}");
            assert_eq!(fs::read(&path).unwrap(), whole[..before]);
        }
    }
    let log = open(dir.path(), 4).unwrap();
    fill(&log, 4..9, 2);
    assert_eq!(all(&log), records(0..9));
}

#[test]
fn damage_before_the_end_is_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..3, 1);
    drop(log);
    let path = dir.path().join(segment::name(0));
    let whole = fs::read(&path).unwrap();
    let second = block::decode(&whole).unwrap().length;
    // Each header field in turn, the length among them, and some of the payload.
    for at in (second..second + block::HEADER).chain([second + 40, second + 100]) {
        let mut bad = whole.clone();
        bad[at] ^= 0x40;
        fs::write(&path, &bad).unwrap();
        match open(dir.path(), 0) {
            Err(AuditError::Damaged { file, offset, .. }) => {
                assert_eq!((file, offset), (path.clone(), second as u64));
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bad);
    }
    // A block removed, one doubled.
    let third = second + block::decode(&whole[second..]).unwrap().length;
    let gap = [&whole[..second], &whole[third..]].concat();
    let twice = [&whole[..third], &whole[second..]].concat();
    for bad in [gap, twice] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(
            open(dir.path(), 0),
            Err(AuditError::Damaged { .. })
        ));
    }
}

#[test]
fn a_missing_or_renamed_or_cut_segment_is_refused() {
    let origin = tempfile::tempdir().unwrap();
    let log = open(origin.path(), 0).unwrap();
    fill(&log, 0..80, 3);
    let size = log.size();
    drop(log);
    let firsts = segment::list(origin.path()).unwrap();
    assert!(firsts.len() > 4);
    for (i, &first) in firsts.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(segment::name(first));
        copy(origin.path(), dir.path());
        fs::rename(&path, dir.path().join(segment::name(first + 1))).unwrap();
        assert!(open(dir.path(), 0).is_err(), "renamed {i}");
        fs::remove_file(dir.path().join(segment::name(first + 1))).unwrap();
        let refused = open(dir.path(), size).unwrap_err();
        if i + 1 == firsts.len() {
            assert!(
                matches!(refused, AuditError::BelowHighWater { .. }),
                "{refused}"
            );
            continue;
        }
        assert!(matches!(refused, AuditError::Damaged { .. }), "{refused}");
        copy(origin.path(), dir.path());
        let length = path.metadata().unwrap().len();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(length - 28).unwrap();
        let refused = open(dir.path(), size).unwrap_err();
        assert!(refused.to_string().contains("no seal"), "{refused}");
    }
    let empty = tempfile::tempdir().unwrap();
    let refused = open(empty.path(), 1).unwrap_err();
    assert!(
        matches!(refused, AuditError::BelowHighWater { size: 0, .. }),
        "{refused}"
    );
}

#[test]
fn a_crash_between_seal_and_next_segment_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..80, 3);
    drop(log);
    let last = *segment::list(dir.path()).unwrap().last().unwrap();
    let path = dir.path().join(segment::name(last));
    fs::remove_file(&path).unwrap();
    let log = open(dir.path(), 0).unwrap();
    assert_eq!(log.size(), last);
    fill(&log, last..last + 3, 3);
    drop(log);
    // And after the new file was made, but not written to.
    fs::write(&path, []).unwrap();
    let log = open(dir.path(), last).unwrap();
    fill(&log, last..last + 9, 3);
    assert_eq!(all(&log), records(0..last + 9));
    let report = verify(dir.path(), &[log.head("t").unwrap()]).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
}

#[test]
fn the_tree_is_the_same_after_reopening_with_lost_or_stale_level_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..80, 3);
    let root = log.root(80).unwrap();
    drop(log);
    assert_eq!(open(dir.path(), 80).unwrap().root(80), Ok(root));
    fs::remove_dir_all(dir.path().join("tree")).unwrap();
    assert_eq!(open(dir.path(), 80).unwrap().root(80), Ok(root));
    // What a power loss leaves of the unsynced end: garbage of any length.
    let last = *segment::list(dir.path()).unwrap().last().unwrap();
    let level = tree::level_path(dir.path(), 0);
    let mut leaves = fs::read(&level).unwrap();
    leaves.truncate(last as usize * 32);
    leaves.extend([0; 5000]);
    fs::write(&level, leaves).unwrap();
    let log = open(dir.path(), 80).unwrap();
    assert_eq!(log.root(80), Ok(root));
    let report = verify(dir.path(), &[log.head("t").unwrap()]).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
}

#[test]
fn repair_keeps_all_up_to_the_damage_and_moves_the_rest_aside() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 0).unwrap();
    fill(&log, 0..80, 3);
    let trusted = log.head("t").unwrap();
    drop(log);
    let firsts = segment::list(dir.path()).unwrap();
    let path = dir.path().join(segment::name(firsts[2]));
    let mut bytes = fs::read(&path).unwrap();
    let second = block::decode(&bytes).unwrap();
    bytes[second.length + 50] ^= 1;
    fs::write(&path, &bytes).unwrap();

    let done = repair(dir.path()).unwrap();
    assert_eq!(done.kept, second.end());
    assert_eq!(done.moved.len(), firsts.len() - 2);
    assert_eq!(
        fs::read(&done.moved[0]).unwrap(),
        bytes,
        "not a byte is lost"
    );
    assert_eq!(done.readable_aside, 80 - done.kept - 3);
    assert!(
        open(dir.path(), 80).is_err(),
        "the caller must accept the loss"
    );
    let log = open(dir.path(), done.kept).unwrap();
    assert_eq!(all(&log), records(0..done.kept));
    // What was written instead is not what the checkpoint covers, and no new root hides it.
    run(log.append_all(&records(500..600))).unwrap();
    assert!(!verify(dir.path(), &[trusted]).unwrap().is_intact());
    let report = verify(dir.path(), &[log.head("t").unwrap()]).unwrap();
    assert!(report.is_intact(), "{:?}", report.findings);
    drop(log);
    let again = repair(dir.path()).unwrap();
    let whole = (done.kept + 100, 0);
    assert_eq!(
        (again.kept, again.moved.len()),
        whole,
        "a whole log stays as it is"
    );
}
