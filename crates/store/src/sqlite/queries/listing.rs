//! Listings of credentials: by filters, and led through what somebody may see.

use pentad_model::{Credential, Path};
use rusqlite::{CachedStatement, Connection, ToSql};

use super::{AFTER_ANY_PATH, Answer, View, keyed};
use crate::{
    CredentialQuery,
    guide::{Collected, Guide, Led, Seek},
    sqlite::{errors::Failure, rows::statement},
    subject::name,
};

/// Looks at the paths that the rarest filter's index holds, and at a credential itself only where the
/// guide wants it: a path that is passed over costs a step in the index, and a jump a seek.
pub(in crate::sqlite) fn guided(
    c: &Connection,
    query: &CredentialQuery,
    guide: &dyn Guide,
    budget: usize,
) -> Answer<Led> {
    lead(c, query, guide, budget).map_err(|failure| {
        failure.about(c, || {
            name("credentials below", &query.tenant, &query.prefix)
        })
    })
}

fn lead(
    c: &Connection,
    query: &CredentialQuery,
    guide: &dyn Guide,
    budget: usize,
) -> Result<Led, Failure> {
    // Paths and credentials of one moment.
    let _one_view = View::of(c)?;
    let tenant = query.tenant.as_str();
    let kind = query.kind.map(|kind| kind.profile().name);
    let to = format!("{}{AFTER_ANY_PATH}", query.prefix);
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let (table, index, condition) = match (&query.tag, &query.target, &kind) {
        (Some((key, Some(value))), _, _) => {
            values.extend([key as &dyn ToSql, value]);
            ("tags", "tags_by_value", " AND key = ?5 AND value = ?6")
        }
        (Some((key, None)), _, _) => {
            values.push(key);
            ("tags", "tags_by_key", " AND key = ?5")
        }
        (None, Some(target), _) => {
            values.push(target);
            ("credentials", "credentials_by_target", " AND target = ?5")
        }
        (None, None, Some(kind)) => {
            values.push(kind);
            ("credentials", "credentials_by_kind", " AND kind = ?5")
        }
        (None, None, None) => ("credentials", "credentials_by_state", ""),
    };
    // Every index of the credentials leads to their row.
    let row = match table {
        "credentials" => "row",
        _ => "NULL",
    };
    let mut select = statement(
        c,
        &format!(
            "SELECT path, {row} FROM {table} INDEXED BY {index}
             WHERE tenant = ?1 AND deleted = ?2 AND path >= ?3 AND path < ?4{condition}
             ORDER BY path"
        ),
    )?;
    let mut fetch = Fetch::of(c, query, kind.as_ref(), table == "tags")?;

    let mut page = Collected::new(query.limit, budget);
    let after = query.after.as_ref().map(|path| format!("{path}\0"));
    let mut from = match after {
        Some(after) if after > query.prefix => after,
        _ => query.prefix.clone(),
    };
    loop {
        let mut all: Vec<&dyn ToSql> = vec![&tenant, &query.deleted, &from, &to];
        all.extend(&values);
        let mut paths = select.query(all.as_slice())?;
        let mut farther = None;
        while let Some(found) = paths.next()? {
            let text: String = found.get(0)?;
            let step = match guide.at(&text) {
                Seek::Here => match fetch.at(&text, found.get(1)?)? {
                    Some(credential) => page.take(credential),
                    None => page.pass(&path(&text)?),
                },
                Seek::From(next) => {
                    farther = Some(next);
                    page.pass(&path(&text)?)
                }
                Seek::End => Some(page.end()),
            };
            if let Some(led) = step {
                return Ok(led);
            }
            if farther.is_some() {
                break;
            }
        }
        match farther {
            Some(next) if next < to => from = next,
            _ => return Ok(page.end()),
        }
    }
}

/// Looks at the credentials themselves, for what the leading index has not seen to: in the index that
/// can tell, so that one which is not wanted costs a seek there, and its row is not read.
struct Fetch<'q> {
    select: CachedStatement<'q>,
    query: &'q CredentialQuery,
    kind: Option<&'q &'static str>,
}

impl<'q> Fetch<'q> {
    fn of(
        c: &'q Connection,
        query: &'q CredentialQuery,
        kind: Option<&'q &'static str>,
        by_path: bool,
    ) -> Result<Self, Failure> {
        let index = match (by_path, &query.target, kind) {
            (false, _, _) => "NOT INDEXED",
            (true, Some(_), _) => "INDEXED BY credentials_by_target",
            (true, None, Some(_)) => "INDEXED BY credentials_by_kind",
            (true, None, None) => "INDEXED BY sqlite_autoindex_credentials_1",
        };
        let place = match by_path {
            true => "tenant = ?2 AND path = ?3 AND deleted = ?4",
            false => "row = ?1",
        };
        let target = query.target.as_ref().map_or("", |_| " AND target = ?5");
        let kind_is = kind.map_or("", |_| " AND kind = ?6");
        let sql = format!(
            "SELECT body, sum, path FROM credentials {index} WHERE {place}{target}{kind_is}"
        );
        let select = statement(c, &sql)?;
        Ok(Self {
            select,
            query,
            kind,
        })
    }

    fn at(&mut self, path: &str, row: Option<i64>) -> Result<Option<Credential>, Failure> {
        let tenant = &self.query.tenant;
        let values: [&dyn ToSql; 6] = [
            &row,
            &tenant.as_str(),
            &path,
            &self.query.deleted,
            &self.query.target,
            &self.kind,
        ];
        let most = self.select.parameter_count();
        let mut found = self.select.query(&values[..most])?;
        let row = found.next()?;
        row.map(|row| keyed(row, "credential", tenant)).transpose()
    }
}

fn path(text: &str) -> Result<Path, Failure> {
    text.parse().map_err(|_| {
        Failure::Store(crate::StoreError::Corrupt {
            what: format!("the path `{}`", text.escape_debug()),
            reason: "it is not a credential's".to_owned(),
        })
    })
}
