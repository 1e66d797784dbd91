//! Objects whose serialised form is a text, read without a copy of it: each row of the store has
//! several.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{Error, Visitor},
};

/// The object that a text stands for, or the error that `parse` has for it.
pub(crate) fn from_text<'de, D, T, E>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    let object = PhantomData;
    deserializer.deserialize_str(Text { parse, object })
}

struct Text<F, T> {
    parse: F,
    object: PhantomData<T>,
}

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
        (self.parse)(text).map_err(X::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use crate::{Id, Path, Sealed, secret::Fingerprint};

    /// From bytes, with escapes and without, and from a value in memory.
    #[test]
    fn a_text_is_read_wherever_it_stands() {
        let path: Path = "db/apfel".parse().unwrap();
        for text in [r#""db/apfel""#, r#""db/\u0061pfel""#] {
            assert_eq!(serde_json::from_str::<Path>(text).unwrap(), path);
            let reader = text.as_bytes();
            assert_eq!(serde_json::from_reader::<_, Path>(reader).unwrap(), path);
        }
        assert_eq!(
            serde_json::from_value::<Path>(json!("db/apfel")).unwrap(),
            path
        );
        let id = Id::from_u128(7);
        assert_eq!(serde_json::from_value::<Id>(json!(id)).unwrap(), id);
        let mac = Fingerprint([0xab; 32]);
        assert_eq!(
            serde_json::from_value::<Fingerprint>(json!(mac)).unwrap(),
            mac
        );
        let sealed = Sealed::from_bytes(vec![0, 1, 255]);
        assert_eq!(
            serde_json::from_value::<Sealed>(json!(sealed)).unwrap(),
            sealed
        );
    }

    #[test]
    fn what_is_no_text_or_not_the_right_one_is_refused() {
        for bad in ["7", "null", "[]", r#""""#, r#""/""#] {
            assert!(serde_json::from_str::<Path>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<Path>("7").unwrap_err().to_string();
        assert!(error.contains("expected a string"), "{error}");
        assert!(serde_json::from_str::<Fingerprint>(r#""abc""#).is_err());
        assert!(serde_json::from_str::<Sealed>(r#""*""#).is_err());
    }
}
