//! The suite that every store passes.
//!
//! To run it on a store: implement [`Lab`], and call [`all`] or, for a test a case,
//! [`for_each_case!`](crate::for_each_case). [`random::agrees_with_the_reference`] then holds the
//! store against [`reference::Reference`], the contract as plain maps, on random changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod credentials;
pub mod documents;
pub mod listing;
pub mod outbox;
pub mod random;
pub mod reference;
pub mod rotations;
pub mod samples;
pub mod whole;

use std::sync::Arc;

use async_trait::async_trait;
use pentad_model::{Timestamp, clock::ManualClock};

use crate::{Change, Op, Reader, StoreError, Writer};

/// Makes stores to be examined.
#[async_trait]
pub trait Lab: Sync {
    /// The store's type.
    type Store: Reader + Writer;

    /// A new, empty store that tells the time by `clock`.
    async fn fresh(&self, clock: Arc<ManualClock>) -> Arc<Self::Store>;

    /// The same store after its process ended and another began.
    async fn reopen(&self, store: Arc<Self::Store>) -> Arc<Self::Store>;
}

/// What a case works with.
#[derive(Debug)]
pub struct Bench<'l, L: Lab> {
    /// The store's maker.
    pub lab: &'l L,
    /// An empty store.
    pub store: Arc<L::Store>,
    /// The store's clock, at [`samples::NOW`].
    pub clock: Arc<ManualClock>,
}

impl<'l, L: Lab> Bench<'l, L> {
    /// A bench with an empty store.
    pub async fn new(lab: &'l L) -> Self {
        let clock = Arc::new(ManualClock::at(samples::NOW));
        let store = lab.fresh(Arc::clone(&clock)).await;
        Self { lab, store, clock }
    }

    /// Commits operations, with a record of their own.
    pub async fn commit(&self, ops: impl IntoIterator<Item = Op>) -> Result<(), StoreError> {
        self.store.commit(samples::change(ops)).await
    }

    /// Commits operations that must succeed.
    pub async fn given(&self, ops: impl IntoIterator<Item = Op>) {
        self.commit(ops).await.expect("the precondition holds");
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        pentad_model::Clock::now(&*self.clock)
    }
}

/// The way a change ended, without its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Ending {
    Done,
    Conflict,
    Exists,
    Missing,
    Invalid,
    Other,
}

/// See [`Ending`].
pub fn ending(result: &Result<(), StoreError>) -> Ending {
    match result {
        Ok(()) => Ending::Done,
        Err(StoreError::Conflict { .. }) => Ending::Conflict,
        Err(StoreError::Exists { .. }) => Ending::Exists,
        Err(StoreError::Missing { .. }) => Ending::Missing,
        Err(StoreError::Invalid { .. }) => Ending::Invalid,
        Err(_) => Ending::Other,
    }
}

/// Asserts how committing `ops` ends, and that a failure left nothing behind.
pub(crate) async fn ends<L: Lab>(bench: &Bench<'_, L>, op: Op, expected: Ending) {
    let before = whole::everything(&*bench.store, bench.now()).await;
    let change = Change::clone(&samples::change([op.clone()]));
    let result = bench.store.commit(change).await;
    assert_eq!(ending(&result), expected, "{op:?}: {result:?}");
    if result.is_err() {
        let after = whole::everything(&*bench.store, bench.now()).await;
        assert_eq!(before, after, "{op:?} failed and left something");
    }
}

/// Hands the path of every case to a macro.
#[macro_export]
macro_rules! for_each_case {
    ($then:ident) => {
        $then! {
            credentials {
                a_credential_is_created_once,
                many_are_found_as_each_is,
                an_update_needs_the_revision_that_was_seen,
                only_a_soft_deleted_credential_is_removed,
                a_version_number_is_used_once,
                a_stage_moves_from_where_it_was_seen,
                a_version_is_destroyed_in_the_stage_that_was_seen_and_never_as_current,
                versions_are_paged_newest_first,
                sharing_counts_living_current_values_of_others,
                a_value_that_returns_is_found_among_earlier_versions,
                a_put_is_told_of_the_rotation_under_way,
                soft_deletion_hides_from_current_only,
                pages_are_complete_under_every_filter,
                a_hundred_increments_are_a_hundred,
                old_values_fall_due_by_when_they_were_staged,
                deleted_credentials_fall_due_by_when_they_were_deleted,
                an_owners_credentials_are_found,
            }
            listing {
                a_led_listing_finds_what_a_plain_filter_finds,
                a_led_listing_stops_where_its_budget_ends_and_goes_on_from_there,
            }
            rotations {
                a_credential_has_one_unfinished_rotation,
                a_batch_is_begun_as_a_whole_or_not_at_all,
                an_update_is_fenced_by_its_revision,
                the_longest_due_comes_first,
                who_waits_for_a_person_is_known_as_long_as_it_does,
                pages_are_complete_under_every_filter,
            }
            documents {
                each_precondition_holds_or_fails,
                a_check_refuses_the_whole_change_and_writes_nothing,
                many_are_found_as_each_is,
                a_seal_is_kept_as_it_was_given,
                an_expired_document_is_gone,
                pages_are_complete,
            }
            outbox {
                records_wait_in_order_until_cleared,
                a_change_is_committed_once_within_a_day,
                a_waiting_record_is_known_for_longer_than_a_day,
                a_record_is_written_once,
                of_many_records_those_that_are_known_are_not_written_again,
            }
            whole {
                a_failing_operation_leaves_nothing,
                a_failing_change_takes_no_other_with_it,
                each_operation_sees_those_before_it,
                reopening_keeps_everything,
                a_sound_store_has_no_damage,
            }
        }
    };
}

macro_rules! run_all {
    ($($module:ident { $($case:ident,)+ })+) => {
        /// Runs every case, each on a store of its own.
        pub async fn all<L: Lab>(lab: &L) {
            $($($module::$case(&Bench::new(lab).await).await;)+)+
        }
    };
}

for_each_case!(run_all);
