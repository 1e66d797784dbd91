//! Length, character classes and entropy: one pass.

use std::collections::HashMap;

use pentad_model::assessment::Facts;

/// Of text: characters are Unicode scalar values.
pub(crate) fn of_text(text: &str) -> Facts {
    let mut facts = nothing();
    let mut ascii = [0u32; 128];
    let mut other: HashMap<char, u32> = HashMap::new();
    for c in text.chars() {
        facts.length += 1;
        match c {
            _ if c.is_lowercase() => facts.lower = true,
            _ if c.is_uppercase() => facts.upper = true,
            _ if c.is_ascii_digit() => facts.digit = true,
            _ => facts.special = true,
        }
        match ascii.get_mut(c as usize) {
            Some(count) => *count += 1,
            None => *other.entry(c).or_default() += 1,
        }
    }
    facts.entropy_bits = entropy(facts.length, ascii.into_iter().chain(other.into_values()));
    facts
}

/// Of bytes that are no text: everything counts as special.
pub(crate) fn of_bytes(bytes: &[u8]) -> Facts {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    Facts {
        length: bytes.len(),
        special: !bytes.is_empty(),
        entropy_bits: entropy(bytes.len(), counts),
        ..nothing()
    }
}

/// Shannon entropy of the characters times their number, in bits.
fn entropy(length: usize, counts: impl IntoIterator<Item = u32>) -> f64 {
    let length = length as f64;
    let bits: f64 = counts
        .into_iter()
        .filter(|count| *count > 0)
        .map(|count| f64::from(count) * (length / f64::from(count)).log2())
        .sum();
    // A single repeated character gives zero; rounding must not make it less.
    bits.max(0.0)
}

fn nothing() -> Facts {
    Facts {
        length: 0,
        lower: false,
        upper: false,
        digit: false,
        special: false,
        entropy_bits: 0.0,
        guesses_log10: None,
        patterns: Vec::new(),
        format: None,
        reused_from: Vec::new(),
        shared_with: 0,
        key: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_shannons() {
        for (text, bits) in [
            ("", 0.0),
            ("aaaa", 0.0),
            ("abab", 4.0),
            ("abcd", 8.0),
            ("äöüß", 8.0),
        ] {
            assert!((of_text(text).entropy_bits - bits).abs() < 1e-9, "{text}");
        }
        assert!((of_bytes(&[0, 255, 0, 255]).entropy_bits - 4.0).abs() < 1e-9);
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let facts = of_text("Äß1 ");
        assert_eq!(facts.length, 4);
        assert!(facts.upper && facts.lower && facts.digit && facts.special);
        assert_eq!(of_bytes(&[0xff, 0xfe]).length, 2);
    }
}
