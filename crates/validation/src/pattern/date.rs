//! Dates and recent years.

/// Characters that are part of a date (`2024-05-17`, `17.5.1999`, `17051999`, `240517`) or a year
/// of the last hundred up to the next one.
pub(super) fn covered(text: &[char], now_year: u16) -> usize {
    let numbers = numbers(text);
    let mut total = 0;
    let mut at = 0;
    while let Some(first) = numbers.get(at) {
        if let [a, b, c, ..] = &numbers[at..]
            && b.start == a.end + 1
            && c.start == b.end + 1
            && text[a.end] == text[b.end]
            && "-./ _\\".contains(text[a.end])
            && separated(a, b, c)
        {
            total += c.end - a.start;
            at += 3;
            continue;
        }
        if joined(&text[first.start..first.end], now_year) {
            total += first.end - first.start;
        }
        at += 1;
    }
    total
}

/// A stretch of digits that no digit stands beside.
struct Number {
    start: usize,
    end: usize,
    /// Saturated; only short ones matter.
    value: u32,
}

impl Number {
    fn digits(&self) -> usize {
        self.end - self.start
    }
}

fn numbers(text: &[char]) -> Vec<Number> {
    let mut found: Vec<Number> = Vec::new();
    for (at, digit) in text
        .iter()
        .enumerate()
        .filter_map(|(at, c)| Some((at, c.to_digit(10)?)))
    {
        match found.last_mut() {
            Some(number) if number.end == at => {
                number.end += 1;
                number.value = number.value.saturating_mul(10).saturating_add(digit);
            }
            _ => found.push(Number {
                start: at,
                end: at + 1,
                value: digit,
            }),
        }
    }
    found
}

fn separated(a: &Number, b: &Number, c: &Number) -> bool {
    let short = |n: &Number| n.digits() <= 2;
    let year = |n: &Number| matches!(n.digits(), 2 | 4);
    (year(a) && short(b) && short(c) && day_and_month(b.value, c.value))
        || (short(a) && short(b) && year(c) && day_and_month(a.value, b.value))
}

fn joined(digits: &[char], now_year: u16) -> bool {
    let part = |from: usize, to: usize| {
        digits[from..to]
            .iter()
            .filter_map(|c| c.to_digit(10))
            .fold(0, |n, digit| n * 10 + digit)
    };
    let now = u32::from(now_year);
    let recent = |year: u32| (now.saturating_sub(100)..=now + 1).contains(&year);
    match digits.len() {
        4 => recent(part(0, 4)),
        6 => day_and_month(part(0, 2), part(2, 4)) || day_and_month(part(2, 4), part(4, 6)),
        8 => {
            (recent(part(0, 4)) && day_and_month(part(4, 6), part(6, 8)))
                || (recent(part(4, 8)) && day_and_month(part(0, 2), part(2, 4)))
        }
        _ => false,
    }
}

/// In either order.
fn day_and_month(a: u32, b: u32) -> bool {
    let fits = |day: u32, month: u32| (1..=31).contains(&day) && (1..=12).contains(&month);
    fits(a, b) || fits(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_years_are_found() {
        for (text, expected) in [
            ("2024-05-17", 10),
            ("17.5.1999", 9),
            ("5/17/99", 7),
            ("17051999", 8),
            ("20240517", 8),
            ("240517", 6),
            ("Summer2024!", 4),
            ("a1999b2020", 8),
            ("2024-05.17", 4),
            ("1066", 0),
            ("9999", 0),
            ("994599", 0),
            ("99-99-99", 0),
            ("123456789012345678901234567890", 0),
            ("", 0),
        ] {
            assert_eq!(
                covered(&text.chars().collect::<Vec<_>>(), 2026),
                expected,
                "{text}"
            );
        }
    }
}
