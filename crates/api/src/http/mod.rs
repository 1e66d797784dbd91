//! The routes, a file a resource. Each handler is one operation; what it says of itself is the
//! description that `/openapi.json` serves.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

mod agents;
mod audit;
mod backups;
mod batch;
mod checks;
mod compliance;
mod credentials;
mod crypto;
mod health;
mod login;
mod policies;
mod probes;
mod retention;
mod roles;
mod rotations;
mod targets;
mod tenants;
mod tokens;
mod users;
mod values;

pub(crate) use agents::state;

/// Routes that need an authenticated caller.
pub(crate) fn authenticated() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(credentials::routes())
        .merge(values::routes())
        .merge(checks::routes())
        .merge(compliance::routes())
        .merge(batch::routes())
        .merge(crypto::routes())
        .merge(rotations::routes())
        .merge(targets::routes())
        .merge(probes::routes())
        .merge(login::whoami_routes())
        .merge(tokens::routes())
        .merge(users::routes())
        .merge(roles::routes())
        .merge(policies::routes())
        .merge(retention::routes())
        .merge(tenants::routes())
        .merge(audit::routes())
        .merge(backups::routes())
        .merge(agents::routes())
}

/// Routes that anybody may call.
pub(crate) fn open() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(login::routes())
        .merge(health::routes())
}
