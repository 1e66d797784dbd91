//! HTTP: thin faces over the agents' operations.
