//! Where baits are looked for.

use std::{
    fmt, fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::bait::{Bait, forms, occurs};
use crate::{api::Api, server::Server};

/// A bait where it should not be, or a guard that does not guard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.what, self.place)
    }
}

fn search(place: &str, bytes: &[u8], baits: &[Bait]) -> Vec<Finding> {
    let shown = baits.iter().filter(|bait| bait.shows_in(bytes));
    shown
        .map(|bait| Finding {
            place: place.to_owned(),
            what: bait.name.clone(),
        })
        .collect()
}

/// All files below a directory, or one file.
pub fn files(at: &Path, baits: &[Bait]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (file, bytes) in contents(at)? {
        found.extend(search(&file, &bytes, baits));
    }
    Ok(found)
}

fn contents(at: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    if at.is_dir() {
        for entry in fs::read_dir(at)? {
            all.extend(contents(&entry?.path())?);
        }
    } else if at.is_file() {
        all.push((at.display().to_string(), fs::read(at)?));
    }
    Ok(all)
}

/// What the server says about itself to whoever may ask.
pub async fn spoken(api: &Api, baits: &[Bait]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for path in [
        "/metrics",
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/v1/audit/records?limit=1000",
        "/v1/agents",
        "/v1/targets",
        "/v1/tokens",
        "/v1/users",
        "/v1/rotations",
    ] {
        let bytes = api.bytes(path).await.with_context(|| path.to_owned())?;
        found.extend(search(&format!("GET {path}"), &bytes, baits));
    }
    Ok(found)
}

/// What the system shows of the process to others.
pub fn of_process(pid: u32, baits: &[Bait]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for name in ["cmdline", "environ", "status"] {
        let place = format!("/proc/{pid}/{name}");
        found.extend(search(&place, &fs::read(&place)?, baits));
    }
    Ok(found)
}

/// How often each bait, and the root key, is in the memory that the process can write, while it
/// stands still: what a forced core would hold.
pub fn memory(
    server: &Server,
    pid: u32,
    baits: &[Bait],
    store: &Path,
) -> Result<Vec<(String, usize)>> {
    let mut needles: Vec<(String, Vec<u8>)> = baits
        .iter()
        .map(|bait| (bait.name.clone(), bait.value.clone().into_bytes()))
        .collect();
    needles.push((
        "the root key, which it works with".to_owned(),
        key(&contents(store)?)?,
    ));
    server.stop()?;
    let counted = count_in_memory(pid, &needles);
    server.go_on()?;
    counted
}

fn count_in_memory(pid: u32, needles: &[(String, Vec<u8>)]) -> Result<Vec<(String, usize)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = fs::File::open(format!("/proc/{pid}/mem"))?;
    let mut counts = vec![0; needles.len()];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let Some((start, end)) = range else { continue };
        let (start, end) = (
            u64::from_str_radix(start, 16)?,
            u64::from_str_radix(end, 16)?,
        );
        let mut region = Vec::new();
        memory.seek(SeekFrom::Start(start))?;
        // Some special regions can't be read; a core would not hold them either.
        if (&memory)
            .take(end - start)
            .read_to_end(&mut region)
            .is_err()
        {
            continue;
        }
        for (count, (_, needle)) in counts.iter_mut().zip(needles) {
            *count += occurs(&region, needle);
        }
    }
    let named = needles.iter().zip(counts).filter(|(_, count)| *count > 0);
    Ok(named
        .map(|((name, _), count)| (name.clone(), count))
        .collect())
}

/// Another process of the same user can't look into it, and it leaves no core.
pub async fn guarded(pid: u32, user: Option<u32>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    if core.and_then(|line| line.split_whitespace().nth(4)) != Some("0") {
        let place = "the limit of core files".to_owned();
        found.push(Finding {
            place,
            what: format!("{core:?}"),
        });
    }
    for name in ["environ", "mem", "maps"] {
        let mut look = Command::new("head");
        look.args(["-c", "1", &format!("/proc/{pid}/{name}")]);
        look.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(user) = user {
            look.uid(user).gid(user);
        }
        let denied =
            String::from_utf8_lossy(&look.output().await?.stderr).contains("Permission denied");
        if !denied && user.is_some() {
            let place = format!("/proc/{pid}/{name}");
            found.push(Finding {
                place,
                what: "another process of the same user may look".into(),
            });
        }
    }
    Ok(found)
}

/// The directory in which a core would be is empty.
pub fn no_core(directory: &Path) -> Result<Vec<Finding>> {
    let cores = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let place = |entry: &fs::DirEntry| entry.path().display().to_string();
    Ok(cores
        .iter()
        .map(|entry| Finding {
            place: place(entry),
            what: "a core after SIGABRT".to_owned(),
        })
        .collect())
}

/// The root key is in its file and nowhere else.
pub fn root_key(store: &Path, log: &Path) -> Result<Vec<Finding>> {
    let all = [contents(store)?, contents(log)?].concat();
    let forms = forms(&key(&all)?);
    let mut found = Vec::new();
    for (name, bytes) in all.iter().filter(|(name, _)| !is_key_file(name)) {
        if forms.iter().any(|form| occurs(bytes, form) > 0) {
            found.push(Finding {
                place: name.clone(),
                what: "the root key".to_owned(),
            });
        }
    }
    Ok(found)
}

fn key(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let file = files.iter().find(|(name, _)| is_key_file(name));
    let text = String::from_utf8_lossy(&file.context("there is no master.key")?.1);
    let key = text.split(':').find(|part| part.len() == 64);
    Ok(hex::decode(key.context("master.key has another form")?)?)
}

fn is_key_file(name: &str) -> bool {
    name.ends_with("master.key")
}
