//! Configuration: one commented file, every key overridable by the environment.
//!
//! The example that `pentad config example` prints is compiled in and *is* the list of keys and
//! their defaults: file and environment are laid over it. So no default can be undocumented, and
//! an unknown key is known to be one.

use std::{
    env,
    path::{Path, PathBuf},
};

use pentad_agents::Limits;
use pentad_store::{StoreError, postgres::Address};
use serde::Deserialize;
use toml::{Table, Value};

use crate::{failure::Failure, telemetry::Format};

/// The commented example, which holds every key with its default.
pub(crate) const EXAMPLE: &str = include_str!("pentad.toml");

/// Short names of the environment, as every command's help has them.
const SHORT: &[(&str, &str, &str)] = &[
    ("PENTAD_ADDR", "client", "address"),
    ("PENTAD_TENANT", "client", "tenant"),
    ("PENTAD_TOKEN_FILE", "client", "token_file"),
    ("PENTAD_CACERT", "client", "ca_cert"),
    ("PENTAD_DIR", "store", "dir"),
    ("PENTAD_STORE", "store", "address"),
    ("PENTAD_KEY_FILE", "store", "key_file"),
    ("PENTAD_PASSPHRASE_FILE", "store", "passphrase_file"),
    ("PENTAD_LISTEN", "server", "listen"),
    ("PENTAD_LOG", "log", "level"),
    // Not ours, but every collector's documentation names them.
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "traces", "endpoint"),
    ("OTEL_SERVICE_NAME", "traces", "service"),
];

/// All settings; `pentad.toml` beside this file says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) files: Files,
    pub(crate) audit: Audit,
    pub(crate) server: Server,
    pub(crate) requests: Requests,
    pub(crate) log: Log,
    pub(crate) traces: Traces,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    pub(crate) address: String,
    pub(crate) tenant: String,
    pub(crate) token_file: PathBuf,
    pub(crate) ca_cert: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) address: Hidden,
    pub(crate) password_file: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) passphrase_file: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    pub(crate) segment_kib: u32,
}

/// Text that may carry a password: never shown.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Files {
    pub(crate) below: Vec<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: String,
    pub(crate) tls_cert: PathBuf,
    pub(crate) tls_key: PathBuf,
    pub(crate) tls12: bool,
    pub(crate) max_connections: u32,
    pub(crate) max_connections_per_peer: u32,
    pub(crate) header_timeout: u32,
    pub(crate) body_timeout: u32,
    pub(crate) idle_timeout: u32,
    pub(crate) write_timeout: u32,
    pub(crate) request_timeout: u32,
    pub(crate) max_header_bytes: u32,
    pub(crate) body_budget: u32,
    pub(crate) shutdown_timeout: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requests {
    pub(crate) critical: u32,
    pub(crate) high: u32,
    pub(crate) normal: u32,
    pub(crate) background: u32,
    pub(crate) background_alone: u32,
    pub(crate) waiting_critical: u32,
    pub(crate) waiting_high: u32,
    pub(crate) waiting_normal: u32,
    pub(crate) waiting_background: u32,
}

impl Requests {
    /// As the gate takes them. A lane without a place would be a door that never opens.
    pub(crate) fn limits(&self) -> Limits {
        let count = |given: u32| usize::try_from(given).unwrap_or(usize::MAX);
        let places = |given: u32| count(given.max(1));
        let usual = Limits::default();
        Limits {
            places: [
                places(self.critical),
                places(self.high),
                places(self.normal),
            ],
            background: match self.background {
                0 => usual.background,
                given => count(given),
            },
            alone: places(self.background_alone),
            waiting: [
                count(self.waiting_critical),
                count(self.waiting_high),
                count(self.waiting_normal),
                count(self.waiting_background),
            ],
            ..usual
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) level: String,
    pub(crate) format: Format,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Traces {
    pub(crate) endpoint: String,
    pub(crate) ca_cert: PathBuf,
    pub(crate) sample: f64,
    pub(crate) service: String,
    pub(crate) queue: u32,
}

impl Config {
    /// Defaults, then the file (`--config`, else `PENTAD_CONFIG`), then the environment.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let named = file.map(Path::to_owned).or_else(|| {
            env::var_os("PENTAD_CONFIG")
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
        });
        let text = match &named {
            None => None,
            Some(path) => Some((
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|e| {
                    Failure::file(path.display(), &e).hint(format!(
                        "`pentad config example > {}` makes one",
                        path.display()
                    ))
                })?,
            )),
        };
        layered(
            text.as_ref()
                .map(|(name, text)| (name.as_str(), text.as_str())),
            &|name| env::var(name).ok().filter(|value| !value.is_empty()),
        )
    }

    /// The store's directory.
    pub(crate) fn dir(&self) -> Result<PathBuf, Failure> {
        if !self.store.dir.as_os_str().is_empty() {
            return Ok(self.store.dir.clone());
        }
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("XDG_DATA_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".local/share")))
            .map(|data| data.join("pentad"))
            .ok_or_else(|| {
                Failure::usage("there is no home directory to keep a store in")
                    .hint("name one with --dir or PENTAD_DIR")
            })
    }

    /// The database that the store is in, unless it is in its directory.
    pub(crate) fn database(&self) -> Result<Option<Address>, Failure> {
        let given = &self.store.address.0;
        if given.is_empty() {
            return Ok(None);
        }
        let refused = |error: StoreError| {
            let reason = match error {
                StoreError::Invalid { reason, .. } => reason,
                other => other.to_string(),
            };
            Failure::usage(format!("store.address: {reason}"))
                .hint("docs/postgresql.md has the form of an address and all its keys")
        };
        let address: Address = given.parse().map_err(refused)?;
        let file = &self.store.password_file;
        if !file.as_os_str().is_empty() {
            return address
                .with_password_file(file.clone())
                .map(Some)
                .map_err(refused);
        }
        let passfile = env::var_os("PGPASSFILE").filter(|name| !name.is_empty());
        Ok(Some(address.or_passfile(passfile.map(PathBuf::from))))
    }

    /// Where `pentad login --save` keeps the token.
    pub(crate) fn kept_token() -> Option<PathBuf> {
        let set = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("XDG_CONFIG_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".config")))
            .map(|config| config.join("pentad/token"))
    }
}

fn layered(
    file: Option<(&str, &str)>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Failure> {
    let mut all: Table = EXAMPLE
        .parse()
        .map_err(|error| Failure::internal(format!("the built-in configuration: {error}")))?;
    if let Some((name, text)) = file {
        let given: Table = text.parse().map_err(|error: toml::de::Error| {
            Failure::usage(format!("{name}: {}", first_line(error.message())))
                .hint("`pentad config example` shows a right one")
        })?;
        overlay(name, &mut all, given)?;
    }
    let short = SHORT
        .iter()
        .map(|(name, section, key)| ((*name).to_owned(), *section, *key));
    let keys: Vec<(String, String, String)> = all
        .iter()
        .flat_map(|(section, keys)| {
            keys.as_table()
                .into_iter()
                .flat_map(Table::keys)
                .map(move |key| {
                    let name = format!("PENTAD_{section}_{key}").to_ascii_uppercase();
                    (name, section.clone(), key.clone())
                })
        })
        .chain(short.map(|(name, section, key)| (name, section.to_owned(), key.to_owned())))
        .collect();
    for (name, section, key) in keys {
        let Some(text) = environment(&name) else {
            continue;
        };
        if let Some(slot) = all.get_mut(&section).and_then(|keys| keys.get_mut(&key)) {
            *slot = parsed(&name, &text, slot)?;
        }
    }
    Value::Table(all)
        .try_into()
        .map_err(|error: toml::de::Error| {
            Failure::usage(format!(
                "the configuration: {}",
                first_line(error.message())
            ))
            .hint("`pentad config example` shows every key with its form")
        })
}

/// Lays a file's keys over the known ones; what is not known is an error that names the nearest.
fn overlay(name: &str, all: &mut Table, given: Table) -> Result<(), Failure> {
    for (section, keys) in given {
        let Some(known) = all.get_mut(&section).and_then(Value::as_table_mut) else {
            return Err(unknown(name, &section, all.keys().cloned(), ""));
        };
        let Value::Table(keys) = keys else {
            return Err(Failure::usage(format!(
                "{name}: `{section}` is a section: [{section}]"
            )));
        };
        for (key, value) in keys {
            match known.get_mut(&key) {
                Some(slot) if slot.same_type(&value) => *slot = value,
                Some(Value::Float(slot)) if value.is_integer() => {
                    *slot = value.as_integer().unwrap_or_default() as f64;
                }
                Some(slot) => {
                    return Err(Failure::usage(format!(
                        "{name}: `{section}.{key}` is a {}, not a {}",
                        slot.type_str(),
                        value.type_str()
                    )));
                }
                None => {
                    return Err(unknown(
                        name,
                        &key,
                        known.keys().cloned(),
                        &format!("{section}."),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn unknown(name: &str, key: &str, known: impl Iterator<Item = String>, section: &str) -> Failure {
    let failure = Failure::usage(format!("{name}: there is no key `{section}{key}`"));
    match nearest(key, known) {
        Some(near) => failure.hint(format!("did you mean `{section}{near}`?")),
        None => failure.hint("`pentad config example` shows every key"),
    }
}

/// The known word that was most likely meant.
pub(crate) fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|known| (strsim::jaro_winkler(word, &known), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// A variable's text in the type that its key has.
fn parsed(name: &str, text: &str, like: &Value) -> Result<Value, Failure> {
    let wrong = |what| Failure::usage(format!("{name} must be {what}"));
    Ok(match like {
        Value::Integer(_) => Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
        Value::Float(_) => Value::Float(text.parse().map_err(|_| wrong("a number"))?),
        Value::Boolean(_) => Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
        Value::Array(_) => {
            let parts = text.split(':').filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        _ => Value::String(text.to_owned()),
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_example_is_the_default_configuration() {
        let config = layered(None, &none).unwrap();
        assert_eq!(config.server.listen, "127.0.0.1:8277");
        assert_eq!(config.log.format, Format::Text);
        assert!(layered(Some(("example", EXAMPLE)), &none).is_ok());
    }

    #[test]
    fn the_environment_overrides_the_file_and_the_file_the_defaults() {
        let file = Some(("f", "[server]\nlisten = \"[::1]:1\"\nmax_connections = 5"));
        let environment = |name: &str| match name {
            "PENTAD_SERVER_MAX_CONNECTIONS" => Some("7".to_owned()),
            "PENTAD_SERVER_TLS12" => Some("true".to_owned()),
            "PENTAD_DIR" => Some("/d".to_owned()),
            "PENTAD_FILES_BELOW" => Some("/a:/b".to_owned()),
            _ => None,
        };
        let config = layered(file, &environment).unwrap();
        assert_eq!(config.server.listen, "[::1]:1");
        assert_eq!(config.server.max_connections, 7);
        assert!(config.server.tls12);
        assert_eq!(config.store.dir, Path::new("/d"));
        assert_eq!(config.files.below, [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn a_collector_is_named_by_file_or_by_the_usual_variables() {
        let file = Some(("f", "[traces]\nendpoint = \"https://a\"\nsample = 1"));
        let config = layered(file, &none).unwrap();
        assert_eq!(config.traces.endpoint, "https://a");
        assert_eq!(config.traces.sample, 1.0);
        let environment = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://localhost:4318".to_owned()),
            "OTEL_SERVICE_NAME" => Some("vault".to_owned()),
            "PENTAD_TRACES_SAMPLE" => Some("0.25".to_owned()),
            _ => None,
        };
        let config = layered(file, &environment).unwrap();
        assert_eq!(config.traces.endpoint, "http://localhost:4318");
        assert_eq!(
            (config.traces.sample, config.traces.service.as_str()),
            (0.25, "vault")
        );
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let refused = |text| layered(Some(("f", text)), &none).unwrap_err();
        let key = refused("[server]\nlisen = \"x\"");
        assert_eq!(key.message, "f: there is no key `server.lisen`");
        assert_eq!(key.hint.as_deref(), Some("did you mean `server.listen`?"));
        assert_eq!(
            refused("[sever]").hint.as_deref(),
            Some("did you mean `server`?")
        );
        assert!(
            refused("[server]\nlisten = 5")
                .message
                .contains("is a string, not a integer")
        );
        assert!(refused("[server").message.starts_with("f: "));
    }

    #[test]
    fn the_gates_limits_are_the_systems_own_unless_set() {
        let limits = layered(None, &none).unwrap().requests.limits();
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
        let file = Some(("f", "[requests]\nnormal = 8\nhigh = 0\nbackground = 3"));
        let limits = layered(file, &none).unwrap().requests.limits();
        assert_eq!((limits.places, limits.background), ([256, 1, 8], 3));
    }

    #[test]
    fn a_wrong_number_names_the_variable() {
        let environment =
            |name: &str| (name == "PENTAD_SERVER_MAX_CONNECTIONS").then(|| "many".to_owned());
        let refused = layered(None, &environment).unwrap_err();
        assert_eq!(
            refused.message,
            "PENTAD_SERVER_MAX_CONNECTIONS must be a whole number"
        );
    }
}
