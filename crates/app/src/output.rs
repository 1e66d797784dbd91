//! What people see: tables that line up, colour on a terminal only, values as they are.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::failure::Failure;

/// How a command speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// The API's JSON instead of tables.
    pub(crate) json: bool,
    /// No progress and no remarks.
    pub(crate) quiet: bool,
    /// Colour on standard output.
    colour: bool,
}

/// A meaning that has a colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
    Faint,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            colour: Self::colours(&io::stdout()),
        }
    }

    /// Whether colour goes there: on a terminal, unless somebody said no.
    pub(crate) fn colours(there: &impl IsTerminal) -> bool {
        // https://no-color.org: any value that is not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !refused && there.is_terminal()
    }

    /// Bytes as they are.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// A line.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// A remark beside the result: on standard error, so that pipes get results only.
    pub(crate) fn note(self, text: impl AsRef<str>) {
        if !self.quiet {
            self.complain(text);
        }
    }

    /// Why something failed, where more than that failed or went well: not silenced by `--quiet`.
    pub(crate) fn complain(self, text: impl AsRef<str>) {
        let mut err = io::stderr().lock();
        // Nobody to tell if this fails.
        let _ = writeln!(err, "{}", text.as_ref());
    }

    /// The API's JSON, indented on a terminal.
    pub(crate) fn value(self, value: &Value) -> Result<(), Failure> {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(text.map_err(|error| Failure::internal(error.to_string()))?)
    }

    /// What was done: the API's answer with `--json`, an empty object if that is empty; else a line.
    pub(crate) fn done(self, answer: &Value, text: impl AsRef<str>) -> Result<(), Failure> {
        match (self.json, answer) {
            (false, _) => self.line(text),
            (true, Value::Null) => self.value(&serde_json::json!({})),
            (true, answer) => self.value(answer),
        }
    }

    /// A text in its colour.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good if self.colour => "32",
            Tone::Doubtful if self.colour => "33",
            Tone::Bad if self.colour => "31",
            Tone::Faint if self.colour => "2",
            _ => return text.to_owned(),
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// An aligned table; nothing but a remark if it has no rows.
    pub(crate) fn table(self, table: &Table) -> Result<(), Failure> {
        if table.rows.is_empty() {
            self.note(table.empty);
            return Ok(());
        }
        let mut widths: Vec<usize> = table.head.iter().map(|head| width(head)).collect();
        for row in &table.rows {
            for (column, (_, cell)) in row.iter().enumerate() {
                widths[column] = widths[column].max(width(cell));
            }
        }
        let mut text = String::new();
        let head = table
            .head
            .iter()
            .map(|head| (Tone::Faint, (*head).to_owned()))
            .collect();
        for row in std::iter::once(&head).chain(&table.rows) {
            self.row(row, &widths, &mut text);
        }
        self.raw(text.as_bytes())
    }

    fn row(self, row: &[(Tone, String)], widths: &[usize], text: &mut String) {
        for (column, (tone, cell)) in row.iter().enumerate() {
            text.push_str(&self.paint(*tone, cell));
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - width(cell) + 2));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }

    /// Names and values below each other, what is empty left out.
    pub(crate) fn facts(self, facts: &[(&str, String)]) -> Result<(), Failure> {
        let shown = || facts.iter().filter(|(_, value)| !value.is_empty());
        let widest = shown().map(|(name, _)| width(name)).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in shown() {
            let pad = " ".repeat(widest - width(name) + 2);
            text.push_str(&self.paint(Tone::Faint, name));
            text.push_str(&pad);
            text.push_str(&value.replace('\n', &format!("\n{}", " ".repeat(widest + 2))));
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }
}

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    head: &'static [&'static str],
    empty: &'static str,
    rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// A table with these headings; `empty` is said if there are no rows.
    pub(crate) fn new(head: &'static [&'static str], empty: &'static str) -> Self {
        Self {
            head,
            empty,
            rows: Vec::new(),
        }
    }

    /// Adds a row; what is missing on its right is empty.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let row = cells.into_iter().map(|cell| {
            let Cell(tone, text) = cell.into();
            (tone, printable(&text))
        });
        self.rows.push(row.take(self.head.len()).collect());
    }
}

/// A cell.
#[derive(Debug)]
pub(crate) struct Cell(pub(crate) Tone, pub(crate) String);

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(Tone::Plain, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(Tone::Plain, text.to_owned())
    }
}

/// A field of a JSON object as text: empty for none, lists joined.
pub(crate) fn field(value: &Value, name: &str) -> String {
    text_of(&value[name])
}

/// JSON as people read it.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match text_of(value) {
                text if text.is_empty() => key.clone(),
                text => format!("{key}={text}"),
            })
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// A moment without its fractions and its T: `2026-01-31 12:00:00Z`.
pub(crate) fn moment(value: &Value, name: &str) -> String {
    let text = field(value, name);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{}Z", seconds.replace('T', " ")),
        None => text.replace('T', " "),
    }
}

/// Text from a server or a file must not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_short() {
        let value = json!({"at": "2026-01-31T12:00:00.123Z", "none": null});
        assert_eq!(moment(&value, "at"), "2026-01-31 12:00:00Z");
        assert_eq!(moment(&value, "none"), "");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb"), "a\u{fffd}[31mb");
    }

    #[test]
    fn tags_read_as_they_are_written() {
        assert_eq!(text_of(&json!({"env": "prod", "pci": ""})), "env=prod, pci");
    }
}
