//! The statements of a led listing: each walks the index of the rarest filter, in the order of the paths
//! and without a look at the rows, but for the credentials themselves.

use std::collections::HashMap;

use pentad_model::Credential;
use tokio_postgres::Row;

use super::{Walk, just_after};
use crate::{
    CredentialQuery,
    postgres::{
        errors::Failure,
        lanes::Lanes,
        queries::{AFTER_ANY_PATH, keyed},
        rows::{Value, column},
    },
};

/// The rarest filter's index, in the order of the paths.
pub(super) struct Course<'q> {
    query: &'q CredentialQuery,
    table: &'static str,
    /// On the index that leads.
    leading: String,
    /// The first parameters of a statement: tenant, state, and those of the leading filter.
    values: Vec<Value>,
    /// On the credential, where another filter leads: a column and what it is to be.
    others: Vec<(&'static str, Value)>,
}

impl<'q> Course<'q> {
    pub(super) fn of(query: &'q CredentialQuery) -> Self {
        let mut values: Vec<Value> = vec![query.tenant.as_str().into(), query.deleted.into()];
        let mut leading = String::new();
        let mut lead = |column: &str, value: Value| {
            values.push(value);
            leading.push_str(&format!(" AND l.{column} = ${}", values.len()));
        };
        let target = query.target.as_deref().map(Value::from);
        let kind = query.kind.map(|kind| kind.profile().name.into());
        let filters = [("target", target), ("kind", kind)];
        let mut others: Vec<(&str, Value)> = filters
            .into_iter()
            .filter_map(|(column, value)| Some((column, value?)))
            .collect();
        let table = match &query.tag {
            Some((key, value)) => {
                lead("key", key.as_bytes().into());
                if let Some(value) = value {
                    lead("value", value.as_bytes().into());
                }
                "tags"
            }
            None => {
                if !others.is_empty() {
                    let (column, value) = others.remove(0);
                    lead(column, value);
                }
                "credentials"
            }
        };
        Self {
            query,
            table,
            leading,
            values,
            others,
        }
    }

    pub(super) fn range(&self) -> (String, String) {
        let CredentialQuery { prefix, after, .. } = self.query;
        let after = after.as_ref().map(|path| just_after(path.as_str()));
        let from = after.filter(|after| after > prefix);
        let to = format!("{prefix}{AFTER_ANY_PATH}");
        (from.unwrap_or_else(|| prefix.clone()), to)
    }

    /// The rows of the leading index in a range, in order.
    fn rows(&self, columns: &str, low: &str, high: &str, limit: &str) -> String {
        let Self { table, leading, .. } = self;
        format!(
            "SELECT {columns} FROM {table} l
             WHERE l.tenant = $1 AND l.deleted = $2 AND l.path >= {low} AND l.path < {high}
                   {leading}
             ORDER BY l.path LIMIT {limit}"
        )
    }

    /// The names of the `N` parameters that come next.
    fn next<const N: usize>(&self) -> [String; N] {
        std::array::from_fn(|place| format!("${}", self.values.len() + 1 + place))
    }

    async fn ask(
        &self,
        lanes: &Lanes,
        sql: &str,
        next: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, Failure> {
        let values: Vec<Value> = self.values.iter().cloned().chain(next).collect();
        lanes.query(sql, &values).await
    }

    /// The next paths of each piece, `limit` at most, by the piece's place.
    pub(super) async fn paths(
        &self,
        lanes: &Lanes,
        pieces: impl Iterator<Item = &mut Walk>,
        limit: usize,
    ) -> Result<HashMap<usize, Vec<(String, bool)>>, Failure> {
        let bounds = pieces.map(|walk| (sayable(&walk.from), sayable(&walk.to)));
        let (low, high): (Vec<String>, Vec<String>) = bounds.unzip();
        let [lows, highs, most] = self.next();
        let mut values: Vec<Value> = vec![low.into(), high.into(), count(limit).into()];
        let mut fits = "true".to_owned();
        if !self.others.is_empty() {
            let each = self.others.iter().map(|(column, value)| {
                values.push(value.clone());
                format!("c.{column} = ${}", self.values.len() + values.len())
            });
            let each: Vec<String> = each.collect();
            fits = format!(
                "coalesce((SELECT {} FROM credentials c
                           WHERE c.tenant = l.tenant AND c.path = l.path), false)",
                each.join(" AND ")
            );
        }
        let columns = format!("l.path, {fits} AS fits");
        let sql = format!(
            "SELECT piece.place, found.path, found.fits
             FROM unnest({lows}::text[], {highs}::text[])
                  WITH ORDINALITY AS piece (low, high, place)
             CROSS JOIN LATERAL ({}) found",
            self.rows(&columns, "piece.low", "piece.high", &most)
        );
        let mut found: HashMap<usize, Vec<(String, bool)>> = HashMap::new();
        for row in &self.ask(lanes, &sql, values).await? {
            let place = usize::try_from(column::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
            let paths = found.entry(place).or_default();
            paths.push((column(row, 1)?, column(row, 2)?));
        }
        // The order of the rows within a piece is the index's, which the statement does not promise.
        for paths in found.values_mut() {
            paths.sort_unstable();
        }
        Ok(found)
    }

    /// The first path of each folder of a depth in what is left of a piece, `limit` at most.
    pub(super) async fn folders(
        &self,
        lanes: &Lanes,
        walk: &Walk,
        depth: usize,
        limit: usize,
    ) -> Result<Vec<String>, Failure> {
        let [low, high, segments, most] = self.next();
        // `0` follows the slash.
        let past = format!(
            "array_to_string((string_to_array(folder.path, '/'))[:{segments}::bigint::int], '/')
             || '0'"
        );
        let sql = format!(
            "WITH RECURSIVE folder AS (
                 ({first})
                 UNION ALL
                 SELECT next.path, folder.nth + 1
                 FROM folder CROSS JOIN LATERAL ({next}) next WHERE folder.nth < {most})
             SELECT path FROM folder",
            first = self.rows("l.path, 1::bigint AS nth", &low, &high, "1"),
            next = self.rows("l.path", &past, &high, "1"),
        );
        let [from, to] = [&walk.from, &walk.to].map(|text| sayable(text).into());
        let values = [from, to, count(depth).into(), count(limit).into()];
        let rows = self.ask(lanes, &sql, values).await?;
        let paths = rows.iter().map(|row| column::<String>(row, 0));
        let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
        paths.sort_unstable();
        Ok(paths)
    }

    /// The next credentials of a piece, whatever does not lead.
    pub(super) async fn credentials(
        &self,
        lanes: &Lanes,
        walk: &Walk,
        limit: usize,
    ) -> Result<Vec<Credential>, Failure> {
        let [low, high, most] = self.next();
        let sql = format!(
            "SELECT c.body, c.sum, c.path FROM ({}) found
             JOIN credentials c ON c.tenant = $1 AND c.path = found.path",
            self.rows("l.path", &low, &high, &most)
        );
        let [from, to] = [&walk.from, &walk.to].map(|text| sayable(text).into());
        let values = [from, to, count(limit).into()];
        let rows = self.ask(lanes, &sql, values).await?;
        let found = rows
            .iter()
            .map(|row| keyed(row, "credential", &self.query.tenant));
        let mut found: Vec<Credential> = found.collect::<Result<_, _>>()?;
        found.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        Ok(found)
    }

    /// The credentials at these paths, as far as they are there and in the state that is asked for.
    pub(super) async fn named(
        &self,
        lanes: &Lanes,
        paths: Vec<String>,
    ) -> Result<Vec<Credential>, Failure> {
        let sql = "SELECT body, sum, path FROM credentials
                   WHERE tenant = $1 AND path = ANY ($3::text[]) AND deleted = $2";
        let values = [
            self.query.tenant.as_str().into(),
            self.query.deleted.into(),
            paths.into(),
        ];
        let rows = lanes.query(sql, &values).await?;
        let found = rows
            .iter()
            .map(|row| keyed(row, "credential", &self.query.tenant));
        found.collect()
    }
}

/// PostgreSQL's text has no zero byte. Nothing that a path may hold sorts before either.
fn sayable(text: &str) -> String {
    match text.split_once('\0') {
        Some((before, _)) => format!("{before}\u{1}"),
        None => text.to_owned(),
    }
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
