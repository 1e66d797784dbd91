//! What a computation leaves on the stack of the thread that did it: nothing of a key or a value.
//!
//! Keys and values live in types that zeroise on drop, but a library that copies one into its own
//! frame (a hash's block buffer, a context that is moved) leaves that copy behind when it returns,
//! and a thread that then only waits keeps it for as long as it lives. No type shows that, so the
//! tests here look at the real stack of a thread, through `/proc/self/mem`, after each computation
//! of this crate that touches a value. Where a library was caught, it is asked in another way, or
//! its call is [`scrubbed`].
//!
//! Not seen and not reached: the heap, registers, and copies in another form, such as a hash's
//! message schedule.

use std::hint::black_box;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{bytes, canaries, left_behind};

/// How far below its caller the stack is overwritten, in bytes: several times what was seen to be
/// used.
const DEPTH: usize = 64 * 1024;

/// Does `work`, then overwrites the stack that it used: one to two microseconds. What `work` returns
/// is moved, so let it be no secret, or a pointer to one on the heap.
pub(crate) fn scrubbed<T>(work: impl FnOnce() -> T) -> T {
    let done = deeper(work);
    overwrite();
    done
}

/// Begins where [`overwrite`]'s frame will.
#[inline(never)]
fn deeper<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// The array is shown to `black_box`, so that filling it can't be left out.
#[inline(never)]
fn overwrite() {
    let mut depth = [0u8; DEPTH];
    black_box(&mut depth);
}
