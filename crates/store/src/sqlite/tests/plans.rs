//! Every statement that the store runs in everyday work seeks in an index.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use rusqlite::params_from_iter;

use super::{Embedded, run};
use crate::{
    conformance,
    sqlite::{DATABASE, reading},
};

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Called with each statement that is prepared.
pub(in crate::sqlite) fn note(sql: &str) {
    SEEN.lock().insert(sql.to_owned());
}

#[test]
fn no_statement_walks_a_table_or_sorts() {
    let lab = Embedded::new();
    run(conformance::all(&lab));
    let connection = reading(&lab.dir.path().join("0").join(DATABASE)).unwrap();
    let seen = SEEN.lock().clone();
    assert!(seen.len() > 40, "only {} statements were seen", seen.len());
    for sql in seen {
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let none = std::iter::repeat_n(rusqlite::types::Null, explain.parameter_count());
        let plan: Vec<String> = explain
            .query_map(params_from_iter(none), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for step in &plan {
            // A bounded subquery's own result is walked; its rows were found by seeking.
            let subquery = step.starts_with("SCAN (subquery");
            // The scans of retention go over what nobody asked about: they read no row.
            let scan = step.contains("versions_old") || step.contains("credentials_by_deletion");
            assert!(!scan || step.contains("COVERING"), "{sql}\n{plan:#?}");
            // What a statement brings along is no table.
            let own = step.ends_with("CONSTANT ROW") || step.ends_with("VALUES CLAUSE");
            let walks = step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert!(subquery || own || !walks, "{sql}\n{plan:#?}");
        }
    }
}
