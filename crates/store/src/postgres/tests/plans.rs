//! Every look-up of the conformance suite, held against `EXPLAIN`: none sorts or walks a table.

use std::{cell::RefCell, collections::BTreeSet};

use super::{Bench, Database};
use crate::conformance::{credentials, documents, listing, rotations};

thread_local! {
    static SEEN: RefCell<Option<BTreeSet<String>>> = const { RefCell::new(None) };
}

/// Notes a statement that this thread runs.
pub(in crate::postgres) fn note(sql: &str) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            seen.insert(sql.to_owned());
        }
    });
}

#[test]
fn every_look_up_walks_an_index_in_its_order() {
    let lab = Database::new();
    SEEN.set(Some(BTreeSet::new()));
    // All on this thread, where they are noted.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bench = Bench::new(&lab).await;
        credentials::pages_are_complete_under_every_filter(&bench).await;
        let bench = Bench::new(&lab).await;
        rotations::pages_are_complete_under_every_filter(&bench).await;
        rotations::the_longest_due_comes_first(&Bench::new(&lab).await).await;
        documents::pages_are_complete(&Bench::new(&lab).await).await;
        credentials::old_values_fall_due_by_when_they_were_staged(&Bench::new(&lab).await).await;
        credentials::an_owners_credentials_are_found(&Bench::new(&lab).await).await;
        credentials::a_put_is_told_of_the_rotation_under_way(&Bench::new(&lab).await).await;
        let bench = Bench::new(&lab).await;
        credentials::a_value_that_returns_is_found_among_earlier_versions(&bench).await;
        credentials::many_are_found_as_each_is(&Bench::new(&lab).await).await;
        documents::many_are_found_as_each_is(&Bench::new(&lab).await).await;
        listing::a_led_listing_finds_what_a_plain_filter_finds(&Bench::new(&lab).await).await;
        bench.store.changes_since(0).await.unwrap();
        let seen = SEEN.take().unwrap();
        let client = lab.client().await;
        client
            .batch_execute(
                "SET search_path = s0; SET plan_cache_mode = force_generic_plan;
                 SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off;
                 SET enable_hashjoin = off; SET enable_mergejoin = off",
            )
            .await
            .unwrap();
        let (mut looked, mut led) = (0, 0);
        for sql in seen
            .iter()
            .filter(|sql| sql.starts_with("SELECT") || sql.starts_with("WITH RECURSIVE"))
            .filter(|sql| sql.contains("FROM"))
        {
            if sql.starts_with("SELECT 1 FROM") || sql.contains("store s") {
                continue; // asked after a refusal, of one row; the feed's one row
            }
            let count = (1..20)
                .take_while(|n| sql.contains(&format!("${n}")))
                .count();
            let nulls = vec!["NULL"; count].join(", ");
            let explain =
                format!("DEALLOCATE ALL; PREPARE it AS {sql}; EXPLAIN EXECUTE it({nulls})");
            let mut plan = String::new();
            for message in client.simple_query(&explain).await.unwrap() {
                if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                    plan.push_str(row.get(0).unwrap());
                    plan.push('\n');
                }
            }
            assert!(plan.contains("Index"), "{sql}\n{plan}");
            assert!(
                !plan.contains("Seq Scan") && !plan.contains("Sort"),
                "{sql}\n{plan}"
            );
            if let Some(index) = leading(sql) {
                let walk = format!("Index Only Scan using {index} on");
                assert!(plan.contains(&walk), "not {index}: {sql}\n{plan}");
                led += 1;
            }
            looked += 1;
        }
        assert!(looked > 20, "only {looked} look-ups were seen");
        assert!(led > 10, "only {led} led listings were seen");
    });
}

/// The index that a led listing walks, without a look at the rows: that of its rarest filter.
fn leading(sql: &str) -> Option<&'static str> {
    let has = |condition: &str| sql.contains(&format!("AND l.{condition} = "));
    match (
        sql.contains("FROM tags l"),
        sql.contains("FROM credentials l"),
    ) {
        (true, _) if has("value") => Some("tags_by_value"),
        (true, _) => Some("tags_by_key"),
        (_, true) if has("target") => Some("credentials_by_target"),
        (_, true) if has("kind") => Some("credentials_by_kind"),
        (_, true) => Some("credentials_by_state"),
        _ => None,
    }
}
