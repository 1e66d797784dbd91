//! Where credentials, rotations and the audit log are kept. Holds sealed bytes only; it cannot open them.
