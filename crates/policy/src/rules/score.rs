//! The score: strength on a scale of 0 to 100, capped by what was found.
//!
//! Strength is estimated guesses where a person chose the value, else entropy. Both scales reach 60
//! at the built-in policies' least (10^10 guesses, 64 bits) and 100 where more gains nothing.

use pentad_model::assessment::Facts;

/// The most that a refused value gets.
pub(super) const REFUSED: u8 = 30;
/// The most that a value with a warning gets.
pub(super) const WARNED: u8 = 85;
/// What each finding after the first takes.
const EACH_FURTHER: u8 = 5;

/// Powers of ten to points.
const GUESSES: &[(f64, f64)] = &[
    (0.0, 0.0),
    (6.0, 20.0),
    (10.0, 60.0),
    (14.0, 85.0),
    (19.0, 100.0),
];
/// Bits to points.
const BITS: &[(f64, f64)] = &[
    (0.0, 0.0),
    (32.0, 20.0),
    (64.0, 60.0),
    (112.0, 95.0),
    (128.0, 100.0),
];

/// `caps` has one entry for each finding that counts. Grows with strength, falls with each finding.
pub(super) fn of(facts: &Facts, caps: &[u8]) -> u8 {
    let strength = match facts.guesses_log10 {
        Some(guesses) => scale(GUESSES, guesses),
        None => scale(BITS, facts.entropy_bits),
    };
    let cap = caps.iter().copied().min().unwrap_or(100);
    let further = u8::try_from(caps.len().saturating_sub(1)).unwrap_or(u8::MAX);
    strength
        .min(cap)
        .saturating_sub(further.saturating_mul(EACH_FURTHER))
}

/// Linear between the points; what is no number counts as nothing.
fn scale(points: &[(f64, f64)], value: f64) -> u8 {
    let value = if value.is_nan() { 0.0 } else { value };
    let mut result = 0.0;
    for pair in points.windows(2) {
        if let [(x0, y0), (x1, y1)] = pair
            && value >= *x0
        {
            result = y0 + (y1 - y0) * ((value - x0) / (x1 - x0)).min(1.0);
        }
    }
    // Between 0 and 100, as the points are.
    result.round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_meets_its_points_and_saturates() {
        for (value, points) in [
            (-1.0, 0),
            (0.0, 0),
            (6.0, 20),
            (8.0, 40),
            (10.0, 60),
            (19.0, 100),
            (1e9, 100),
            (f64::NAN, 0),
        ] {
            assert_eq!(scale(GUESSES, value), points, "{value}");
        }
        assert_eq!(scale(GUESSES, f64::INFINITY), 100);
    }
}
