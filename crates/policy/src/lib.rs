//! Pure rules that return a decision with its reasons.
