//! Who asks: the bearer of a token, or the local user of an in-process router.
//!
//! Wraps every route below `/v1` but the login, and `/metrics`. What follows finds a [`Caller`]
//! among the request's extensions; the token itself is taken off the request.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
};
use pentad_agents::{Caller, Fault};
use pentad_model::{Secret, Tenant};
use tokio::sync::watch;

use crate::{App, LocalUser, layers::correlation, problem::Problem};

/// The header that names the tenant.
const TENANT: &str = "x-pentad-tenant";
/// Longer ones are no tokens of ours.
const LONGEST_TOKEN: usize = 256;

/// How long it is believed that who asks is who they were found to be. A body may take its time, and
/// so may a place: whoever was revoked meanwhile is asked for again, and refused.
const BELIEVED: Duration = Duration::from_millis(100);

/// The token that a request was authenticated with, for what is keyed by it.
#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) Secret);

/// Who asks, to be asked for again before each thing that is done for them.
pub(crate) struct Asker {
    caller: Caller,
    /// None in the process's own router: the local user is not revoked.
    token: Option<Secret>,
    peer: Option<IpAddr>,
    since: Instant,
    /// Whether they are nobody any more. They don't come back.
    gone: watch::Sender<bool>,
}

impl Asker {
    /// Of a request that is authenticated at this moment.
    pub(crate) fn of(request: &Request) -> Result<Self, Problem> {
        let extensions = request.extensions();
        let caller = extensions.get::<Caller>().ok_or_else(Problem::no_token)?;
        let token = extensions.get::<Bearer>();
        Ok(Self {
            caller: caller.clone(),
            token: token.map(|Bearer(token)| token.clone()),
            peer: peer(extensions),
            since: Instant::now(),
            gone: watch::Sender::new(false),
        })
    }

    /// Them, with the rights that they have now. That they have none any more counts as one failed
    /// authentication, however much of a request it is found at.
    pub(crate) async fn now(&self, app: &App) -> Result<Caller, Problem> {
        let Some(token) = &self.token else {
            return Ok(self.caller.clone());
        };
        if *self.gone.borrow() {
            let message = "the token was revoked, or expired, meanwhile".to_owned();
            return Err(Fault::Unauthenticated { message }.into());
        }
        limit(app, self.peer)?;
        let tenant = &self.caller.context.tenant;
        let (origin, id) = (origin(self.peer), correlation());
        match app.pentad.authenticate(token, tenant, &origin, id).await {
            Ok(caller) => Ok(Caller {
                priority: self.caller.priority,
                ..caller
            }),
            Err(fault) => {
                let ends = matches!(fault, Fault::Unauthenticated { .. });
                match ends && self.gone.send_replace(true) {
                    true => Err(fault.into()),
                    false => Err(count(app, self.peer, fault)),
                }
            }
        }
    }

    /// Waits until they were found to be nobody any more.
    pub(crate) async fn gone(&self) {
        // Ends in no other way: the sender is here.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// The request is theirs, with the rights that they have now, or had a moment ago.
    pub(crate) async fn still(&self, app: &App, request: &mut Request) -> Result<(), Problem> {
        if self.token.is_some() && self.since.elapsed() > BELIEVED {
            let now = self.now(app).await?;
            if let Some(caller) = request.extensions_mut().get_mut::<Caller>() {
                let priority = caller.priority;
                *caller = Caller { priority, ..now };
            }
        }
        Ok(())
    }
}

/// See the module.
pub(crate) async fn authenticate(app: &App, request: &mut Request) -> Result<(), Problem> {
    // Read before anything is awaited: a body can't be shared between threads.
    let local = request.extensions().get::<LocalUser>().cloned();
    let token = bearer(request.headers());
    let tenant = tenant(request.headers());
    let peer = peer(request.extensions());
    let (caller, token) = match local {
        Some(LocalUser(user)) => (app.pentad.local(&tenant?, &user, correlation())?, None),
        None => remote(app, token, tenant, peer).await?,
    };
    request.headers_mut().remove(AUTHORIZATION);
    request.extensions_mut().insert(caller);
    if let Some(token) = token {
        request.extensions_mut().insert(Bearer(token));
    }
    Ok(())
}

async fn remote(
    app: &App,
    token: Result<Secret, Problem>,
    tenant: Result<Tenant, Problem>,
    peer: Option<IpAddr>,
) -> Result<(Caller, Option<Secret>), Problem> {
    let (token, tenant) = (token?, tenant?);
    limit(app, peer)?;
    match app
        .pentad
        .authenticate(&token, &tenant, &origin(peer), correlation())
        .await
    {
        Ok(caller) => Ok((caller, Some(token))),
        Err(fault) => Err(count(app, peer, fault)),
    }
}

/// Refuses a peer that has failed too often.
pub(crate) fn limit(app: &App, peer: Option<IpAddr>) -> Result<(), Problem> {
    app.peers.admit(peer).map_err(|wait| {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-failures",
            "Too many failed authentications",
            "too many failed authentications came from this address",
        )
        .hint("wait the stated time; then use a token that is good")
        .retry_after(wait)
    })
}

/// Counts a failed authentication against the peer; other faults are not the peer's.
pub(crate) fn count(app: &App, peer: Option<IpAddr>, fault: Fault) -> Problem {
    if is_peers(&fault) {
        app.peers.failed(peer);
    }
    fault.into()
}

/// On a full disk a failure that can't be recorded ends as that, and is a guess all the same.
fn is_peers(fault: &Fault) -> bool {
    matches!(fault, Fault::Unauthenticated { .. } | Fault::Full)
}

fn bearer(headers: &HeaderMap) -> Result<Secret, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (given.next(), given.next()) else {
        return Err(Problem::no_token());
    };
    let bytes = header.as_bytes();
    match bytes.split_at_checked(7) {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case(b"Bearer ")
                && !token.is_empty()
                && token.len() <= LONGEST_TOKEN =>
        {
            Ok(Secret::new(token))
        }
        _ => Err(Problem::no_token()),
    }
}

/// The tenant that a request is about.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<Tenant, Problem> {
    let Some(header) = headers.get(TENANT) else {
        return Ok(Tenant::default_tenant());
    };
    let text = header
        .to_str()
        .map_err(|_| Problem::invalid("X-Pentad-Tenant is not text"))?;
    text.parse()
        .map_err(|error| Problem::invalid(format!("X-Pentad-Tenant: {error}")))
}

/// The address that a request comes from. Headers that claim another one are not believed.
pub(crate) fn peer(extensions: &axum::http::Extensions) -> Option<IpAddr> {
    extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(address)| address.ip())
}

/// The origin in records.
pub(crate) fn origin(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "unknown".to_owned(), |ip| ip.to_canonical().to_string())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_guess_counts_on_a_full_disk_too() {
        let message = String::new();
        assert!(is_peers(&Fault::Unauthenticated { message }));
        assert!(is_peers(&Fault::Full));
        let message = String::new();
        assert!(!is_peers(&Fault::Unavailable { message }));
    }

    #[test]
    fn one_bearer_token_is_taken_and_nothing_else() {
        assert!(bearer(&with(&["Bearer pntd_x"])).is_ok());
        assert!(bearer(&with(&["bearer pntd_x"])).is_ok());
        for bad in [
            &[][..],
            &["Basic eA=="],
            &["Bearer "],
            &["Bearer a", "Bearer b"],
            &["B"],
        ] {
            assert!(bearer(&with(bad)).is_err(), "{bad:?}");
        }
    }
}
