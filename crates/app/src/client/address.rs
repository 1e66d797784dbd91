//! Where a client may go. A token never travels in the clear beyond this machine.

use crate::failure::Failure;

/// An address with its scheme.
pub(super) fn checked_address(given: &str) -> Result<String, Failure> {
    let given = given.strip_suffix('/').unwrap_or(given);
    let wrong = || {
        Failure::usage(format!("`{given}` is no server's address"))
            .hint("PENTAD_ADDR is like http://127.0.0.1:8277 or https://pentad.internal:8277")
    };
    let full = match given.contains("://") {
        true => given.to_owned(),
        false => match is_loopback(&format!("http://{given}")) {
            true => format!("http://{given}"),
            false => format!("https://{given}"),
        },
    };
    let url = reqwest::Url::parse(&full).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    match url.scheme() {
        _ if !bare || url.host_str().is_none() => Err(wrong()),
        "https" => Ok(full),
        "http" if is_loopback(&full) => Ok(full),
        "http" => Err(
            Failure::usage(format!("{full} would carry your token in the clear"))
                .hint("beyond this machine use https://"),
        ),
        _ => Err(wrong()),
    }
}

/// The address of a collector of traces, without a slash at its end. Spans tell who asks for what,
/// and a token goes with them: beyond loopback they travel under TLS.
pub(crate) fn collector_address(given: &str) -> Result<String, Failure> {
    let wrong = || {
        Failure::usage("traces.endpoint is no collector's address")
            .hint("it is like http://127.0.0.1:4318 or https://collector.internal:4318")
    };
    let url = reqwest::Url::parse(given).map_err(|_| wrong())?;
    let bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    match url.scheme() {
        _ if !bare || url.host_str().is_none() => Err(wrong()),
        "https" => Ok(given.trim_end_matches('/').to_owned()),
        "http" if is_loopback(given) => Ok(given.trim_end_matches('/').to_owned()),
        "http" => Err(Failure::usage(
            "traces.endpoint: spans would travel in the clear beyond this machine",
        )
        .hint("use https://, or a collector on loopback")),
        _ => Err(wrong()),
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(url) else {
        return false;
    };
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_token_does_not_leave_the_machine_in_the_clear() {
        for good in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "https://h:1",
        ] {
            assert_eq!(checked_address(good).unwrap(), good);
        }
        assert_eq!(
            checked_address("127.0.0.1:1/").unwrap(),
            "http://127.0.0.1:1"
        );
        assert_eq!(
            checked_address("vault.example:1").unwrap(),
            "https://vault.example:1"
        );
        for bad in [
            "http://10.0.0.1:1",
            "http://127.0.0.1.example:1",
            "ftp://h",
            "https://h/x",
            "",
        ] {
            assert_eq!(checked_address(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
