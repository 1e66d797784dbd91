//! Listings that are led, over a wire: few questions a page, however far apart what is wanted lies.
//!
//! A guide knows where to look next only when it has seen a path, so a walk by it is a chain of seeks.
//! In an index in this process a seek costs a microsecond; here it would be a round trip. But a guide
//! says of each path the same, wherever the walk came from. So the range may be cut anywhere and the
//! pieces be walked side by side, all of them in one statement a round. They are cut
//!
//! * where the guide, asked about texts before any path was seen, knows where something may be: the
//!   paths of a role that names each ([`Walk::aimed`]);
//! * between folders, where it jumped out of what was fetched and found little: one recursive
//!   statement steps from folder to folder by index seeks ([`Course::folders`]). That is a role of
//!   `*/app/db`.
//!
//! Where everything is wanted, one statement brings the page. Only paths are fetched else, off the
//! index alone, and the credentials that are wanted at the end. What always holds: the page is that of
//! a walk from path to path; no more than a budget of paths is looked at.

use std::collections::{HashMap, VecDeque};

use pentad_model::{Credential, Path, name::InvalidName};
use tokio_postgres::Row;

use super::{
    errors::Failure,
    lanes::Lanes,
    queries::{AFTER_ANY_PATH, Answer, keyed},
    rows::{Value, column},
};
use crate::{
    CredentialQuery, StoreError,
    guide::{Collected, Guide, Led, Seek},
    read::MAX_PAGE,
    subject::name,
};

/// Pieces walked side by side at most.
const PIECES: usize = 256;
/// Paths that a round fetches: the first, and the most.
const ROWS: (usize, usize) = (64, 1024);
/// One wanted in fewer than so many fetched is little.
const LITTLE: usize = 8;
/// Rounds of a page; one that needs more ends short, and says where to go on.
const ROUNDS: usize = 16;

/// See [`Reader::guided`](crate::Reader::guided).
pub(super) async fn guided(
    lanes: &Lanes,
    query: &CredentialQuery,
    guide: &dyn Guide,
    budget: usize,
) -> Answer<Led> {
    lead(lanes, query, guide, budget).await.map_err(|failure| {
        failure.about(|| name("credentials below", &query.tenant, &query.prefix))
    })
}

async fn lead(
    lanes: &Lanes,
    query: &CredentialQuery,
    guide: &dyn Guide,
    budget: usize,
) -> Result<Led, Failure> {
    // One more than wanted tells whether there are more.
    let most = query.limit.clamp(1, MAX_PAGE) + 1;
    let course = Course::of(query);
    let mut trail = Trail::new(course.range());
    for round in 0..ROUNDS {
        trail.aim(guide, most);
        let Some(left) = trail.wants_more(most, budget) else {
            break;
        };
        if let Some(walk) = trail.only_open()
            && guide.at(&walk.from) == Seek::Here
        {
            let limit = most.min(left);
            let found = course.credentials(lanes, walk, limit).await?;
            let paths = found.iter().map(|it| {
                let fits = fits(it, query);
                (it.path.to_string(), fits)
            });
            walk.follow(paths.collect(), limit, guide);
            let paths = found.into_iter().map(|it| (it.path.to_string(), it));
            trail.bodies.extend(paths);
            continue;
        }
        if let Some(walk) = trail.first_open()
            && let Some(depth) = walk.thin.take()
        {
            let firsts = course
                .folders(lanes, walk, depth, most.min(PIECES / 2))
                .await?;
            trail.split(firsts, guide);
            continue;
        }
        let rows = (ROWS.0 << (2 * round.min(4))).min(ROWS.1);
        let pieces = trail.open().count().clamp(1, PIECES);
        let limit = left.min((rows / pieces).max(2));
        let mut found = course
            .paths(lanes, trail.open().take(PIECES), limit)
            .await?;
        for (place, walk) in trail.open().take(PIECES).enumerate() {
            walk.follow(found.remove(&place).unwrap_or_default(), limit, guide);
        }
    }
    let lacking = trail.lacking(most, budget);
    if !lacking.is_empty() {
        let found = course.named(lanes, lacking).await?;
        let found = found.into_iter().map(|it| (it.path.to_string(), it));
        trail.bodies.extend(found);
    }
    trail.page(query, budget)
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

// ---- the walk -----------------------------------------------------------------------------------

/// A path that was looked at, and whether it is wanted.
struct Look {
    path: String,
    wanted: bool,
}

/// A piece of the range.
struct Walk {
    looks: Vec<Look>,
    /// What is left: from this text, up to and without that one.
    from: String,
    to: String,
    open: bool,
    /// It jumped far and found little: folders of this depth are worth being told apart.
    thin: Option<usize>,
}

impl Walk {
    fn over(from: String, to: String) -> Self {
        Self {
            looks: Vec::new(),
            open: from < to,
            from,
            to,
            thin: None,
        }
    }

    /// The pieces of what is left in which something may be, as far as the guide knows without having
    /// seen a path.
    fn aimed(from: &str, to: &str, guide: &dyn Guide, most: usize) -> Vec<Walk> {
        let mut pieces = Vec::new();
        let mut low = from.to_owned();
        while low.as_str() < to && pieces.len() + 1 < most {
            match guide.at(&low) {
                Seek::End => return pieces,
                Seek::From(next) if is_just_after(&next, &low) => break,
                Seek::From(next) => low = next,
                // It is wanted if it is there; and behind it?
                Seek::Here => {
                    let after = just_after(&low);
                    let next = match guide.at(&after) {
                        Seek::Here => break,
                        Seek::From(next) if is_just_after(&next, &after) => break,
                        Seek::From(next) => Some(next),
                        Seek::End => None,
                    };
                    pieces.push(Walk::over(low, after.min(to.to_owned())));
                    match next {
                        Some(next) => low = next,
                        None => return pieces,
                    }
                }
            }
        }
        pieces.push(Walk::over(low, to.to_owned()));
        pieces
    }

    /// Takes the next paths of the piece, `limit` of them if there are so many.
    fn follow(&mut self, paths: Vec<(String, bool)>, limit: usize, guide: &dyn Guide) {
        let fetched = paths.len();
        let (mut wanted, mut jump) = (0, None);
        for (path, fits) in paths {
            // Behind a jump that ends within these.
            if path < self.from {
                continue;
            }
            jump = None;
            let here = match guide.at(&path) {
                Seek::Here => {
                    self.from = just_after(&path);
                    true
                }
                Seek::From(next) => {
                    let is_far = !is_just_after(&next, &path);
                    jump = is_far.then(|| depth(&path, &next));
                    self.from = next;
                    false
                }
                Seek::End => {
                    self.open = false;
                    false
                }
            };
            wanted += usize::from(here);
            self.looks.push(Look {
                path,
                wanted: here && fits,
            });
            if !self.open {
                return;
            }
        }
        self.open = fetched == limit && self.from < self.to;
        self.thin = jump.filter(|_| fetched >= LITTLE && wanted * LITTLE < fetched);
    }
}

/// The depth at which a jump left a folder for the next one.
fn depth(path: &str, next: &str) -> usize {
    let shared = path
        .split('/')
        .zip(next.split('/'))
        .take_while(|(left, right)| left == right)
        .count();
    // Either the folder itself was left, as in `a/k1/x` to `a/k10`, or something deeper within it
    // was looked for, as in `k1/a/x` to `k1/b/x`: then it is the folders like it that matter.
    match next.matches('/').count() == shared {
        true => shared + 1,
        false => shared.max(1),
    }
}

/// The pieces, in their order, and what is known of them.
struct Trail {
    walks: Vec<Walk>,
    bodies: HashMap<String, Credential>,
}

impl Trail {
    fn new((from, to): (String, String)) -> Self {
        Self {
            walks: vec![Walk::over(from, to)],
            bodies: HashMap::new(),
        }
    }

    fn open(&mut self) -> impl Iterator<Item = &mut Walk> {
        self.walks.iter_mut().filter(|walk| walk.open)
    }

    fn first_open(&mut self) -> Option<&mut Walk> {
        self.open().next()
    }

    fn only_open(&mut self) -> Option<&mut Walk> {
        let mut open = self.walks.iter_mut().filter(|walk| walk.open);
        let only = open.next()?;
        open.next().is_none().then_some(only)
    }

    /// Cuts what is left where the guide knows something of it.
    fn aim(&mut self, guide: &dyn Guide, most: usize) {
        let most = most.min(PIECES / 2);
        let mut walks = Vec::with_capacity(self.walks.len());
        for mut walk in std::mem::take(&mut self.walks) {
            let mut pieces = Vec::new();
            if walk.open && walk.thin.is_none() {
                pieces = Walk::aimed(&walk.from, &walk.to, guide, most);
                walk.open = false;
            }
            if walk.open || !walk.looks.is_empty() {
                walks.push(walk);
            }
            walks.extend(pieces.into_iter().filter(|piece| piece.open));
        }
        self.walks = walks;
    }

    /// Cuts the first open piece before each of these, which are all there is of their folders'
    /// beginnings in it.
    fn split(&mut self, firsts: Vec<String>, guide: &dyn Guide) {
        let Some(place) = self.walks.iter().position(|walk| walk.open) else {
            return;
        };
        let whole = &mut self.walks[place];
        whole.open = false;
        let mut ends: VecDeque<String> = firsts.iter().skip(1).cloned().collect();
        ends.push_back(whole.to.clone());
        let mut pieces = Vec::with_capacity(firsts.len());
        for (first, to) in firsts.into_iter().zip(ends) {
            match guide.at(&first) {
                Seek::Here => pieces.push(Walk::over(first, to)),
                step => {
                    let from = match step {
                        Seek::From(next) => next,
                        _ => to.clone(),
                    };
                    let mut piece = Walk::over(from, to);
                    piece.looks.push(Look {
                        path: first,
                        wanted: false,
                    });
                    pieces.push(piece);
                }
            }
        }
        self.walks.splice(place + 1..place + 1, pieces);
    }

    /// What is known for certain: the looks before the first piece that is still open.
    fn certain(&self) -> impl Iterator<Item = &Look> {
        let first_open = self.walks.iter().position(|walk| walk.open);
        let end = first_open.map_or(self.walks.len(), |place| place + 1);
        self.walks[..end].iter().flat_map(|walk| &walk.looks)
    }

    /// How much of the budget is left, if the page is neither full nor at its end.
    fn wants_more(&self, most: usize, budget: usize) -> Option<usize> {
        let looked = self.certain().count();
        let wanted = self.certain().filter(|look| look.wanted).count();
        let is_open = self.walks.iter().any(|walk| walk.open);
        (is_open && wanted < most && looked < budget).then(|| budget - looked)
    }

    /// What the page will hold and has not been read.
    fn lacking(&self, most: usize, budget: usize) -> Vec<String> {
        let wanted = self.certain().take(budget).filter(|look| look.wanted);
        let lacking = wanted
            .take(most)
            .filter(|look| !self.bodies.contains_key(&look.path));
        lacking.map(|look| look.path.clone()).collect()
    }

    fn page(mut self, query: &CredentialQuery, budget: usize) -> Result<Led, Failure> {
        let mut page = Collected::new(query.limit, budget);
        let mut last = None;
        for walk in self.walks {
            for look in walk.looks {
                let credential = match look.wanted {
                    // It may have gone since, or become something else.
                    true => self.bodies.remove(&look.path).filter(|it| fits(it, query)),
                    false => None,
                };
                let path: Path = look.path.parse().map_err(|error: InvalidName| {
                    Failure::Store(StoreError::Corrupt {
                        what: format!("the path `{}`", look.path.escape_debug()),
                        reason: error.to_string(),
                    })
                })?;
                let step = match credential {
                    Some(credential) => page.take(credential),
                    None => page.pass(&path),
                };
                if let Some(led) = step {
                    return Ok(led);
                }
                last = Some(path);
            }
            if walk.open {
                let Led { items, .. } = page.end();
                // Each round begins with the first open piece, and looks at something there or ends
                // it: so something was looked at before this.
                return Ok(Led { items, next: last });
            }
        }
        Ok(page.end())
    }
}

fn just_after(text: &str) -> String {
    format!("{text}\0")
}

/// Whether nothing was learned: the one is the other, and zero bytes.
fn is_just_after(next: &str, text: &str) -> bool {
    next.trim_end_matches('\0') == text.trim_end_matches('\0')
}

// ---- the statements -----------------------------------------------------------------------------

/// The rarest filter's index, in the order of the paths.
struct Course<'q> {
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
    fn of(query: &'q CredentialQuery) -> Self {
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

    fn range(&self) -> (String, String) {
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
    async fn paths(
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
    async fn folders(
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
    async fn credentials(
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
    async fn named(&self, lanes: &Lanes, paths: Vec<String>) -> Result<Vec<Credential>, Failure> {
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
