//! The description of the API (OpenAPI 3.1), generated from the handlers.
//!
//! `crates/api/openapi.json` is the committed copy; a test fails if the handlers say otherwise, and
//! `./dev generate` writes it anew. What every operation has in common is added here: the bearer
//! token, the headers of every request, and the problems that each may answer.

use utoipa::openapi::{
    ContentBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder,
    info::{InfoBuilder, License},
    path::{Operation, ParameterBuilder, ParameterIn, PathItem},
    schema::{ObjectBuilder, Type},
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::{http, problem};

const DESCRIPTION: &str = "A self-hosted credential manager.

Authentication: `Authorization: Bearer pntd_…`, from POST /v1/login or an admin. Failures are \
problems (RFC 9457) whose `type` ends in a stable slug and whose `hint` names the next step. \
Listings are pages: send `next` back as `after` (or `before`, where the newest come first) until it \
is null. POST, PUT and DELETE take an `Idempotency-Key`: a retry with the same one is not carried \
out again.";

/// Problems that any operation may answer.
const PROBLEMS: [(&str, &str, &str); 6] = [
    (
        "400",
        "Invalid",
        "The request is wrong; the detail names the place",
    ),
    (
        "401",
        "Unauthenticated",
        "No token, or one that is unknown, expired or revoked",
    ),
    ("403", "Denied", "The caller's roles don't allow it"),
    (
        "404",
        "Missing",
        "There is no such thing, or the caller may not know of it",
    ),
    (
        "429",
        "TooManyFailures",
        "Too many failed tries; see Retry-After",
    ),
    (
        "503",
        "Unavailable",
        "Busy or not available; nothing was accepted",
    ),
];

/// The description.
pub fn document() -> OpenApi {
    finish(http::authenticated().merge(http::open()).into_openapi())
}

/// The description as it is served and committed.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

fn finish(collected: OpenApi) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Pentad")
        .version("1")
        .description(Some(DESCRIPTION))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let mut components = collected.components.unwrap_or_default();
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("A token, `pntd_…`"))
                .build(),
        ),
    );
    let (name, schema) = schema_of::<problem::Body>();
    components.schemas.insert(name, schema);
    for (_, name, description) in PROBLEMS {
        components
            .responses
            .insert(name.to_owned(), answered(description).into());
    }
    let mut paths = collected.paths;
    paths.paths = std::mem::take(&mut paths.paths)
        .into_iter()
        .map(|(path, mut item)| {
            operations(&mut item).for_each(|operation| complete(&path, operation));
            // The router's way to say "the rest of the path".
            (path.replace("{*path}", "{path}"), item)
        })
        .collect();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .security(Some([SecurityRequirement::new(
            "bearer",
            Vec::<String>::new(),
        )]))
        .build()
}

fn schema_of<T: utoipa::ToSchema>() -> (String, RefOr<utoipa::openapi::Schema>) {
    (T::name().into_owned(), T::schema())
}

fn answered(description: &str) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content)
        .build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

fn complete(path: &str, operation: &mut Operation) {
    // Handlers are named within their resource: `list`, `put`.
    let resource = path
        .trim_start_matches("/v1")
        .split('/')
        .nth(1)
        .unwrap_or_default();
    if let Some(name) = &mut operation.operation_id {
        *name = format!("{resource}_{name}");
    }
    let open = operation.security.is_some();
    for (status, name, _) in PROBLEMS {
        if open && matches!(status, "401" | "403" | "404") {
            continue;
        }
        let shared = || RefOr::Ref(Ref::from_response_name(name));
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(shared);
    }
    let parameters = operation.parameters.get_or_insert_default();
    for (name, description) in [
        (
            "X-Pentad-Tenant",
            "The tenant asked about; `default` if not given",
        ),
        (
            "X-Correlation-Id",
            "Ties all that the request causes together; echoed, made if not given",
        ),
        (
            "Priority",
            "`u=7` (RFC 9218) lets everything else go first; other urgencies change nothing",
        ),
    ] {
        parameters.push(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Header)
                .description(Some(description))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build()
                .into(),
        );
    }
}
