//! Where the database is and how it is reached, from one address:
//! `postgres://USER@HOST[:PORT][,HOST[:PORT]…]/DATABASE[?KEY=VALUE&…]`.
//!
//! | key | means |
//! |---|---|
//! | `schema` | the schema that holds the store; `pentad` if absent |
//! | `sslmode` | `verify-full` (the default but for loopback and Unix sockets) or `disable` |
//! | `sslrootcert` | a PEM file with the certificates to trust instead of the system's |
//! | `passfile` | a file of libpq's form, `host:port:database:user:password` a line, mode 0600 |
//!
//! and what [`tokio_postgres::Config`] knows, such as `connect_timeout` or `target_session_attrs`.
//!
//! Nothing turns off the check of a certificate: libpq's half measures (`require`, `prefer`,
//! `verify-ca`) are refused. Plain text leaves this machine only where the address says
//! `sslmode=disable`. A password in the address is taken, and never shown again.

use std::{
    fmt,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use pentad_model::Secret;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_postgres::config::{ChannelBinding, Config, Host, SslMode};

use crate::StoreError;

/// The schema that holds the store where the address names none.
const SCHEMA: &str = "pentad";
/// Connecting to one host, TLS and authentication together.
const CONNECT_BOUND: Duration = Duration::from_secs(4);

/// See the [module](self).
#[derive(Clone)]
pub struct Address {
    config: Config,
    pub(super) schema: String,
    password: Password,
    tls: Option<Arc<ClientConfig>>,
}

/// Where the password comes from. Files are read at each login, so that a new password needs no
/// restart.
#[derive(Clone)]
enum Password {
    /// None: a Unix socket with `peer`, for example.
    None,
    /// In the address, and so in `config`.
    Given,
    /// A file that holds it, and nothing else but a line's end.
    File(PathBuf),
    /// A file of libpq's form.
    Passfile(PathBuf),
}

/// Host, database and schema; never the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        for (place, host) in self.config.get_hosts().iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}", host_name(host))?;
            if let Some(port) = self.port(place) {
                write!(f, ":{port}")?;
            }
        }
        let database = self.config.get_dbname().unwrap_or_default();
        write!(f, "/{database}?schema={}", self.schema)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let (plain, ours) = split(text)?;
        // The parser's own words may repeat what was given, and with it the password.
        let mut config = Config::from_str(&plain).map_err(|_| {
            invalid(
                "expected postgres://USER@HOST:PORT/DATABASE; other than letters and digits as %XX",
            )
        })?;
        if config.get_hosts().is_empty() {
            return Err(invalid("it names no host"));
        }
        if config.get_user().is_none() {
            return Err(invalid("it names no user: postgres://USER@…"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(invalid("it names no database: postgres://…/DATABASE"));
        }
        let schema = ours.schema.unwrap_or_else(|| SCHEMA.to_owned());
        check_schema(&schema)?;
        let password = match (config.get_password(), ours.passfile) {
            (Some(_), Some(_)) => return Err(invalid("it has a password and a passfile")),
            (Some(_), None) => Password::Given,
            (None, Some(file)) => Password::Passfile(file),
            (None, None) => Password::None,
        };
        let local = config.get_hosts().iter().all(is_local);
        let tls = match (ours.sslmode.as_deref(), ours.sslrootcert) {
            (Some("disable"), None) => None,
            (Some("disable"), Some(_)) => {
                return Err(invalid("sslrootcert means nothing with sslmode=disable"));
            }
            (Some("verify-full"), roots) | (None, roots @ Some(_)) => Some(tls(roots.as_deref())?),
            (None, None) if local => None,
            (None, None) => Some(tls(None)?),
            (Some(_), _) => {
                return Err(invalid(
                    "sslmode is `verify-full` or, in plain text, `disable`: a certificate is \
                     checked whole or TLS is for nothing",
                ));
            }
        };
        config
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .channel_binding(ChannelBinding::Prefer)
            .connect_timeout(CONNECT_BOUND)
            // A host that vanished is noticed, and not only after the system's two hours.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15))
            .application_name("pentad");
        Ok(Self {
            config,
            schema,
            password,
            tls,
        })
    }
}

impl Address {
    /// The password is in this file, and nothing else but a line's end. Another one that the address
    /// names is an error.
    pub fn with_password_file(mut self, file: PathBuf) -> Result<Self, StoreError> {
        match self.password {
            Password::None => self.password = Password::File(file),
            _ => return Err(invalid("it names a password, and so does password_file")),
        }
        Ok(self)
    }

    /// The password is in this file of libpq's form, unless something else was said.
    #[must_use]
    pub fn or_passfile(mut self, file: Option<PathBuf>) -> Self {
        if let (Password::None, Some(file)) = (&self.password, file) {
            self.password = Password::Passfile(file);
        }
        self
    }

    /// Whether everything crosses a network in plain text because the address says so.
    pub fn is_exposed(&self) -> bool {
        self.tls.is_none() && !self.config.get_hosts().iter().all(is_local)
    }

    pub(super) fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.clone()
    }

    /// What to connect with, the password included.
    pub(super) fn config(&self) -> Result<Config, StoreError> {
        let mut config = self.config.clone();
        match &self.password {
            Password::None | Password::Given => {}
            Password::File(file) => {
                let text = private(file)?;
                let line = text.expose_str().unwrap_or_default();
                config.password(line.trim_end_matches(['\n', '\r']));
            }
            Password::Passfile(file) => {
                let text = private(file)?;
                let found = self.in_passfile(text.expose_str().unwrap_or_default());
                let found = found.ok_or_else(|| {
                    unavailable(format!("{} has no line for {self}", file.display()))
                })?;
                config.password(found.expose());
            }
        }
        Ok(config)
    }

    /// The first line that fits one of the hosts.
    fn in_passfile(&self, text: &str) -> Option<Secret> {
        let hosts = self.config.get_hosts().iter().enumerate();
        let keys: Vec<[String; 4]> = hosts
            .map(|(place, host)| {
                let port = self.port(place).unwrap_or(5432).to_string();
                let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
                let database = text(self.config.get_dbname());
                [
                    host_name(host),
                    port,
                    database,
                    text(self.config.get_user()),
                ]
            })
            .collect();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(fields).find_map(|fields| {
            let (password, key) = fields.split_last()?;
            let fits = |wanted: &[String; 4]| {
                key.len() == 4
                    && (key.iter().zip(wanted)).all(|(field, is)| field == "*" || field == is)
            };
            keys.iter().any(fits).then(|| Secret::new(password.clone()))
        })
    }

    fn port(&self, place: usize) -> Option<u16> {
        let ports = self.config.get_ports();
        ports.get(place).or(ports.first()).copied()
    }
}

/// What of the address is ours to understand.
#[derive(Default)]
struct Ours {
    schema: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<PathBuf>,
    passfile: Option<PathBuf>,
}

/// The address without our keys, and these.
fn split(text: &str) -> Result<(String, Ours), StoreError> {
    if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
        return Err(invalid("expected postgres://USER@HOST:PORT/DATABASE"));
    }
    let Some((base, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), Ours::default()));
    };
    let mut ours = Ours::default();
    let mut theirs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(invalid("after the `?`, expected KEY=VALUE&…"));
        };
        let slot = match key {
            "schema" => &mut ours.schema,
            "sslmode" => &mut ours.sslmode,
            "sslrootcert" => {
                ours.sslrootcert = Some(decoded(value)?.into());
                continue;
            }
            "passfile" => {
                ours.passfile = Some(decoded(value)?.into());
                continue;
            }
            // Ours to set: what they would change is promised elsewhere.
            "options" | "sslnegotiation" | "channel_binding" | "application_name" => {
                return Err(invalid(&format!("`{key}` is not taken here")));
            }
            _ => {
                theirs.push(pair);
                continue;
            }
        };
        *slot = Some(decoded(value)?);
    }
    match theirs.is_empty() {
        true => Ok((base.to_owned(), ours)),
        false => Ok((format!("{base}?{}", theirs.join("&")), ours)),
    }
}

/// Text in which `%XX` stands for a byte.
fn decoded(text: &str) -> Result<String, StoreError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
                let value = value.and_then(|value| u8::try_from(value).ok());
                value.ok_or_else(|| invalid("a `%` is followed by two hexadecimal digits"))?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))
}

/// The schema's name is written into statements: only what needs no quoting.
fn check_schema(name: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let good = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain);
    if !good || name.len() > 63 || name.starts_with("pg_") || name == "public" {
        return Err(invalid(
            "a schema is named with a-z, 0-9 and _, and is the store's alone: not `public`",
        ));
    }
    Ok(())
}

fn tls(roots: Option<&Path>) -> Result<Arc<ClientConfig>, StoreError> {
    let roots = match roots {
        Some(file) => roots_of(file)?,
        None => {
            let mut roots = RootCertStore::empty();
            let native = rustls_native_certs::load_native_certs().certs;
            roots.add_parsable_certificates(native);
            if roots.is_empty() {
                return Err(invalid(
                    "the system has no CA certificates: install ca-certificates, or name the \
                     database's with sslrootcert=FILE",
                ));
            }
            roots
        }
    };
    // Named explicitly, so that nothing depends on a process-wide default.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unavailable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots_of(file: &Path) -> Result<RootCertStore, StoreError> {
    let wrong = |reason: String| invalid(&format!("sslrootcert {}: {reason}", file.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("it holds no certificate, expected PEM".to_owned())),
        false => Ok(roots),
    }
}

/// The content of a file that its owner alone can read.
fn private(file: &Path) -> Result<Secret, StoreError> {
    let failed =
        |error: std::io::Error| unavailable(format!("its password: {}: {error}", file.display()));
    let mode = std::fs::metadata(file)
        .map_err(failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(unavailable(format!(
            "its password: {} is open to other users; chmod 600 {}",
            file.display(),
            file.display()
        )));
    }
    std::fs::read(file).map(Secret::new).map_err(failed)
}

/// The fields of a passfile's line: `\` takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => {
                let c = if c == '\\' { rest.next() } else { Some(c) };
                if let Some(last) = fields.last_mut() {
                    last.extend(c);
                }
            }
        }
    }
    fields
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let ip = name.parse::<std::net::IpAddr>();
            name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
        }
    }
}

fn invalid(reason: &str) -> StoreError {
    StoreError::Invalid {
        what: "the database's address".to_owned(),
        reason: reason.to_owned(),
    }
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { reason }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Address>().unwrap_err().to_string()
    }

    #[test]
    fn plain_text_stays_on_this_machine_unless_the_address_says_otherwise() {
        let of = |text: &str| text.parse::<Address>().unwrap();
        for local in ["127.0.0.1", "localhost", "[::1]", "%2Frun%2Fpostgresql"] {
            assert!(
                of(&format!("postgres://u@{local}/d")).tls.is_none(),
                "{local}"
            );
        }
        assert!(of("postgres://u@db.example/d").tls.is_some());
        assert!(of("postgres://u@127.0.0.1,db.example/d").tls.is_some());
        assert!(
            of("postgres://u@127.0.0.1/d?sslmode=verify-full")
                .tls
                .is_some()
        );
        let exposed = of("postgres://u@db.example/d?sslmode=disable");
        assert!(exposed.tls.is_none() && exposed.is_exposed());
        assert!(!of("postgres://u@127.0.0.1/d").is_exposed());
    }

    #[test]
    fn no_address_turns_off_the_check_of_a_certificate() {
        for mode in ["require", "prefer", "allow", "verify-ca", "no-verify"] {
            let told = refused(&format!("postgres://u@db.example/d?sslmode={mode}"));
            assert!(told.contains("verify-full"), "{told}");
        }
    }

    #[test]
    fn a_password_is_taken_and_never_shown() {
        let secret = "s3cr3t-w0rd";
        for good in [
            format!("postgres://u:{secret}@127.0.0.1:5/d"),
            format!("postgres://u:{secret}@db.example/d?schema=s"),
        ] {
            let address: Address = good.parse().unwrap();
            assert!(!format!("{address} {address:?}").contains(secret));
            let config = address.config().unwrap();
            assert_eq!(config.get_password(), Some(secret.as_bytes()));
        }
        for bad in [
            format!("postgres://u:{secret}@127.0.0.1:port/d"),
            format!("postgres://u:{secret}@127.0.0.1/d?x=1"),
            format!("postgres://u:{secret}@127.0.0.1"),
            format!("postgres://u:{secret}@/d"),
            format!("u:{secret}"),
        ] {
            assert!(!refused(&bad).contains(secret));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(refused("postgres://127.0.0.1/d").contains("no user"));
        assert!(refused("postgres://u@127.0.0.1").contains("no database"));
        assert!(refused("mysql://u@h/d").contains("postgres://"));
        assert!(refused("postgres://u@h/d?schema=public").contains("schema"));
        assert!(refused("postgres://u@h/d?schema=a;b").contains("schema"));
        assert!(refused("postgres://u@h/d?options=-cfsync=off").contains("options"));
    }

    #[test]
    fn a_passfile_is_read_as_libpq_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pgpass");
        let lines =
            "# a comment\nother:*:*:*:no\n127.0.0.1:5:d:u:with\\:colon\\\\x:y\n*:*:*:*:last\n";
        std::fs::write(&file, lines).unwrap();
        let of = |text: &str| {
            let address = text.parse::<Address>().unwrap();
            address.or_passfile(Some(file.clone())).config()
        };
        let told = of("postgres://u@127.0.0.1:5/d").unwrap_err().to_string();
        assert!(told.contains("chmod 600"), "{told}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let password = |text| of(text).unwrap().get_password().unwrap().to_vec();
        assert_eq!(password("postgres://u@127.0.0.1:5/d"), b"with:colon\\x:y");
        assert_eq!(password("postgres://v@127.0.0.1:5/d"), b"last");
    }

    #[test]
    fn a_password_file_is_read_at_each_login() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let address: Address = "postgres://u@127.0.0.1/d".parse().unwrap();
        let address = address.with_password_file(file.clone()).unwrap();
        assert!(address.config().is_err(), "there is no file yet");
        for password in ["first\n", "second"] {
            std::fs::write(&file, password).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            let config = address.config().unwrap();
            assert_eq!(config.get_password(), Some(password.trim_end().as_bytes()));
        }
        let both = "postgres://u:p@127.0.0.1/d".parse::<Address>().unwrap();
        assert!(both.with_password_file(file).is_err());
    }
}
