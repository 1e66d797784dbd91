//! Listings of credentials: by filters, and led through what somebody may see.

use pentad_model::{Credential, Path};
use rusqlite::{Connection, Row, ToSql, params};

use super::{AFTER_ANY_PATH, Answer, keyed, one};
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
    let _one_view = c.unchecked_transaction()?;
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
                Seek::Here => match fetch(c, query, &text, found.get(1)?)? {
                    Some(credential) if fits(&credential, query) => page.take(credential),
                    _ => page.pass(&path(&text)?),
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

fn fetch(
    c: &Connection,
    query: &CredentialQuery,
    path: &str,
    row: Option<i64>,
) -> Result<Option<Credential>, Failure> {
    let read = |row: &Row<'_>| keyed(row, "credential", &query.tenant);
    match row {
        Some(row) => one(
            c,
            "SELECT body, sum, path FROM credentials WHERE row = ?1",
            params![row],
            read,
        ),
        None => one(
            c,
            "SELECT body, sum, path FROM credentials WHERE tenant = ?1 AND path = ?2",
            params![query.tenant.as_str(), path],
            read,
        ),
    }
}

/// What the leading index has not seen to.
fn fits(it: &Credential, query: &CredentialQuery) -> bool {
    let target = it.binding.as_ref().map(|binding| binding.target.as_str());
    query.kind.is_none_or(|kind| kind == it.kind)
        && query
            .target
            .as_deref()
            .is_none_or(|wanted| Some(wanted) == target)
}

fn path(text: &str) -> Result<Path, Failure> {
    text.parse().map_err(|_| {
        Failure::Store(crate::StoreError::Corrupt {
            what: format!("the path `{}`", text.escape_debug()),
            reason: "it is not a credential's".to_owned(),
        })
    })
}
