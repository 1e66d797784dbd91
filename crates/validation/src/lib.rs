//! Pure checks of a credential's strength and format.
