//! Where a networked target listens: `HOST:PORT`, `[IPV6]:PORT` or `unix:/path/of/the/socket`.
//!
//! Also the checks that every networked connector makes of a target's settings. What always holds:
//! a connection without TLS stays on this machine.

use std::{net::IpAddr, path::PathBuf};

use pentad_model::{Target, target::Tls};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::{ConnectError, Profile, tls};

/// The form of an address, for a [`Profile`].
pub(crate) const FORM: &str = "HOST:PORT, [IPV6]:PORT or unix:/path/of/the/socket";

/// A parsed address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Address {
    /// A host name or IP address (an IPv6 one without brackets), and a port.
    Tcp(String, u16),
    /// A Unix socket's absolute path.
    Unix(PathBuf),
}

impl Address {
    /// Checks all that can be checked of `target` without reaching out, and parses its address.
    pub(crate) fn checked(target: &Target, profile: &Profile) -> Result<Self, ConnectError> {
        check_options(target, profile)?;
        let address = Self::parse(&target.address)?;
        if target.tls == Tls::Plain && !address.is_local() {
            return Err(ConnectError::Settings(format!(
                "`{}` is not on this machine, so it needs TLS: set tls to `verify`, with ca_pem \
                 for a CA of your own",
                target.address
            )));
        }
        if target.tls == Tls::Verify
            && let Some(pem) = &target.ca_pem
        {
            tls::roots_of(pem)?;
        }
        Ok(address)
    }

    fn parse(text: &str) -> Result<Self, ConnectError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() && path.file_name().is_some() {
                Ok(Self::Unix(path))
            } else {
                Err(wrong_form(text))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong_form(text))?;
        let port: u16 = port.parse().map_err(|_| wrong_form(text))?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bracketed {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        if !valid || port == 0 {
            return Err(wrong_form(text));
        }
        Ok(Self::Tcp(bracketed.unwrap_or(host).to_owned(), port))
    }

    /// Whether it can only lead to this machine. `localhost` does by RFC 6761.
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host, _) => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// Opens a byte stream to it, with TLS where `target` asks for it; never over a Unix socket.
    pub(crate) async fn stream(&self, target: &Target) -> Result<Box<dyn Stream>, ConnectError> {
        let unreachable = |error: std::io::Error| ConnectError::Unreachable {
            target: target.address.clone(),
            reason: error.to_string(),
        };
        let (host, port) = match self {
            Self::Unix(path) => {
                return Ok(Box::new(
                    UnixStream::connect(path).await.map_err(unreachable)?,
                ));
            }
            Self::Tcp(host, port) => (host, *port),
        };
        let tcp = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if target.tls == Tls::Plain {
            return Ok(Box::new(tcp));
        }
        let name = rustls_pki_types::ServerName::try_from(host.clone())
            .map_err(|_| wrong_form(&target.address))?;
        let connector = tokio_rustls::TlsConnector::from(tls::config(target)?);
        Ok(Box::new(
            connector.connect(name, tcp).await.map_err(unreachable)?,
        ))
    }
}

/// A connection's bytes.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Refuses options that the connector does not know: a misspelt one must not be ignored.
pub(crate) fn check_options(target: &Target, profile: &Profile) -> Result<(), ConnectError> {
    for option in target.options.keys() {
        if !profile.options.iter().any(|(known, _)| known == option) {
            let known: Vec<&str> = profile.options.iter().map(|(name, _)| *name).collect();
            return Err(ConnectError::Settings(format!(
                "{} knows no option `{option}`; it knows: {}",
                profile.name,
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        }
    }
    Ok(())
}

fn wrong_form(text: &str) -> ConnectError {
    ConnectError::Settings(format!("`{text}` is not an address; expected {FORM}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let tcp = |host: &str, port| Address::Tcp(host.into(), port);
        assert_eq!(
            Address::parse("db.example:5432").unwrap(),
            tcp("db.example", 5432)
        );
        assert_eq!(Address::parse("[::1]:6379").unwrap(), tcp("::1", 6379));
        assert_eq!(
            Address::parse("unix:/run/redis.sock").unwrap(),
            Address::Unix("/run/redis.sock".into())
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "db",
            "db:",
            ":5432",
            "db:0",
            "db:65536",
            "::1:5432",
            "[::1]",
            "[db]:5",
            "unix:run/x",
            "unix:/",
            "u@db:5432",
            "db/x:5432",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for text in ["localhost:1", "127.3.2.1:1", "[::1]:1", "unix:/x/y"] {
            assert!(Address::parse(text).unwrap().is_local(), "{text}");
        }
        for text in ["localhost.example:1", "10.0.0.1:1", "[fe80::1]:1"] {
            assert!(!Address::parse(text).unwrap().is_local(), "{text}");
        }
    }
}
