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
//! index alone, and the credentials that are wanted at the end. What always holds: the page is that of a
//! walk from path to path, ended by the same budget of looks.

mod course;

use std::collections::{HashMap, VecDeque};

use pentad_model::{Credential, Path, name::InvalidName};

use self::course::Course;
use super::{errors::Failure, lanes::Lanes, queries::Answer};
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
            && walk.thin.is_none()
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
