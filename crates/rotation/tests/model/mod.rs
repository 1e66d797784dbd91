//! The model's parts.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | store, target, workers: a state |
//! | [`outside`] | what the target, people and a third party do |
//! | [`worker`] | what `rotate.rs` does around the transition function |
//! | [`explore`] | the search, and the story of a counter-example |
//! | [`sabotage`] | protocols that are broken on purpose |

pub(crate) mod explore;
pub(crate) mod outside;
pub(crate) mod sabotage;
pub(crate) mod worker;
pub(crate) mod world;
