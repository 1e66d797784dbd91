//! The systems whose credentials are rotated, one file a system.
