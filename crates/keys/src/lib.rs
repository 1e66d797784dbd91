//! Envelope encryption, key derivation and generators.
