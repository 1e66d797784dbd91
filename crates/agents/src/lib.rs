//! The five agents and the operations that they carry out together.
