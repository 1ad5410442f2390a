//! One request, one answer.

use super::answer::Answer;
use super::body::Body;
use super::gateway::Gateway;
use super::head::{head_size, header_size, is_host};
use super::request_body::{self, BodyError};
use super::route::{ApiRoute, NoRoute, Route};
use super::{admin, api_v1, push, scrape};
use crate::gateway::body_pieces::BodyPieces;
use crate::gateway::decode::{Encoding, check_gzip_header};
use crate::store::PushMode;
use crate::telemetry::{Handler, Method};
use crate::ui;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use std::time::Instant;

/// Answers a request.
pub(super) async fn answer(gateway: &Gateway, request: Request<Incoming>) -> Response<Body> {
    let is_draining = gateway.is_draining();
    let (parts, body) = request.into_parts();
    let found =
        gateway
            .options
            .routes
            .find(parts.method.as_str(), parts.uri.path(), parts.uri.query());
    if let Some(refused) = check_host(&parts) {
        return refused.into_response();
    }
    let is_head = parts.method == hyper::Method::HEAD;
    let is_api = gateway.options.routes.is_api(parts.uri.path());
    let checked = match &found {
        _ if is_api => Ok(Some(body)),
        // They do it themselves, and with the whole body; the reference redirects to clean paths
        // before it looks.
        Ok(Route::Push(_))
        | Err(NoRoute::Redirect {
            permanent: true, ..
        }) => Ok(Some(body)),
        // On the heap, here and below: what such requests need is more than a push does, and every
        // idle connection would keep room for it.
        _ => Box::pin(check_encoding(gateway, &parts, body)).await,
    };
    let mut answer = match (checked, found) {
        (Err(refused), _) => refused,
        (Ok(body), Ok(route)) => routed(gateway, route, &parts, body).await,
        (Ok(_), Err(no_route)) => unrouted(&no_route, &parts),
    };
    if is_draining {
        answer = answer.closing();
    }
    if is_head {
        answer.body = Body::Empty;
    }
    answer.into_response()
}

/// Exactly one `Host` (RFC 9112, 3.2), in which no byte ends a header or names nothing.
fn check_host(parts: &Parts) -> Option<Answer> {
    let refused = |what: &str| Some(Answer::text(400, format!("400 Bad Request: {what}")).unread());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if parts.version >= hyper::Version::HTTP_11 => {
            refused("missing required Host header")
        }
        (Some(_), Some(_)) => refused("too many Host headers"),
        (Some(host), None) if !is_host(host.as_bytes()) => refused("malformed Host header"),
        (Some(_) | None, _) => None,
    }
}

/// The reference looks at whatever says that it is compressed, even where nobody reads it. Returns
/// the body if it is still to be read.
async fn check_encoding(
    gateway: &Gateway,
    parts: &Parts,
    body: Incoming,
) -> Result<Option<Incoming>, Answer> {
    let encoding = parts
        .headers
        .get(header::CONTENT_ENCODING)
        .map(|value| Encoding::of(value.as_bytes()));
    if encoding != Some(Encoding::Gzip) {
        return Ok(Some(body));
    }
    let body = request_body::receive(body, gateway.body_limits().body_bytes_max).await;
    let check = |body: BodyPieces| Ok(check_gzip_header(&body.into_bytes())?);
    match body.and_then(check) {
        Ok(()) => Ok(None),
        Err::<(), BodyError>(error) => Err(push::body_error(&error)),
    }
}

async fn routed(
    gateway: &Gateway,
    route: Route<'_>,
    parts: &Parts,
    body: Option<Incoming>,
) -> Answer {
    let began = Instant::now();
    let method = match parts.method {
        hyper::Method::DELETE => Method::Delete,
        hyper::Method::POST => Method::Post,
        hyper::Method::PUT => Method::Put,
        _ => Method::Get,
    };
    match (route, body) {
        (Route::Push(path), Some(body)) => {
            let size = request_size(parts, &body);
            let mode = if method == Method::Put {
                PushMode::Replace
            } else {
                PushMode::Merge
            };
            let answer = push::push(gateway, mode, &path, &parts.headers, body).await;
            push::count_push(gateway, method, &answer, size, began);
            answer
        }
        (Route::Delete(path), body) => {
            let answer = Box::pin(push::delete(gateway, &path, body)).await;
            gateway
                .telemetry
                .requests
                .count(Handler::Delete, method, answer.status);
            answer
        }
        (route, _) => Box::pin(unread(gateway, route, parts, method)).await,
    }
}

/// Routes that do not look at the body.
async fn unread(gateway: &Gateway, route: Route<'_>, parts: &Parts, method: Method) -> Answer {
    let (handler, answer) = match route {
        Route::Scrape => return scrape::scrape(gateway, &parts.headers).await,
        Route::Healthy => (Handler::Healthy, Answer::text(200, "OK")),
        Route::Ready if gateway.is_draining() => {
            (Handler::Ready, Answer::error(503, "shutting down"))
        }
        Route::Ready => (Handler::Ready, Answer::text(200, "OK")),
        Route::Quit => (Handler::Quit, admin::quit(gateway, method)),
        Route::Status => (Handler::Status, status_page(gateway)),
        Route::Static => (Handler::Static, Answer::error(404, "404 page not found")),
        Route::Api(route) => {
            let (handler, answer) = match route {
                ApiRoute::Status => (Some(Handler::ApiStatus), api_v1::status(gateway)),
                ApiRoute::Metrics(job, instance) => (
                    Some(Handler::ApiMetrics),
                    api_v1::metrics(gateway, job.as_deref(), instance.as_deref()),
                ),
                ApiRoute::Options => (None, api_v1::options()),
                ApiRoute::Wipe => (Some(Handler::Wipe), admin::wipe(gateway).await),
            };
            let Some(handler) = handler else {
                return answer;
            };
            (handler, answer)
        }
        Route::Push(_) | Route::Delete(_) => unreachable!("`routed` answers them"),
    };
    gateway
        .telemetry
        .requests
        .count(handler, method, answer.status);
    answer
}

fn status_page(gateway: &Gateway) -> Answer {
    let options = &gateway.options;
    let page = ui::status_page(&ui::Status {
        n_groups: gateway.store.groups().len(),
        root: &options.routes.root(),
        telemetry_path: options.routes.telemetry_path(),
        version: env!("CARGO_PKG_VERSION"),
        flags: &options.flags,
    });
    Answer::of(
        200,
        HeaderValue::from_static("text/html; charset=utf-8"),
        Body::bytes(page),
    )
}

fn unrouted(no_route: &NoRoute, parts: &Parts) -> Answer {
    let allow = |answer: Answer, methods: &'static str| {
        if methods.is_empty() {
            answer
        } else {
            answer.with(header::ALLOW, HeaderValue::from_static(methods))
        }
    };
    match no_route {
        NoRoute::NotFound => Answer::error(404, "404 page not found"),
        NoRoute::MethodNotAllowed(methods) => {
            allow(Answer::error(405, "Method Not Allowed"), methods)
        }
        NoRoute::Allow(methods) => allow(Answer::empty(200), methods),
        NoRoute::BadRequest => Answer::text(400, "400 Bad Request").unread(),
        NoRoute::Redirect {
            permanent,
            location,
        } => {
            let (status, text) = if *permanent {
                (301, "Moved Permanently")
            } else {
                (307, "Temporary Redirect")
            };
            let answer =
                if parts.method == hyper::Method::GET || parts.method == hyper::Method::HEAD {
                    // Percent-encoded: nothing in it means anything to HTML but the ampersand.
                    let body = format!(
                        "<a href=\"{}\">{text}</a>.\n\n",
                        location.replace('&', "&amp;")
                    );
                    Answer::of(
                        status,
                        HeaderValue::from_static("text/html; charset=utf-8"),
                        Body::bytes(body),
                    )
                } else {
                    Answer::empty(status)
                };
            let location = HeaderValue::try_from(location).expect("a location is percent-encoded");
            answer.with(header::LOCATION, location)
        }
    }
}

/// The size of a request as the reference counts it: request line, headers and announced body,
/// without separators.
fn request_size(parts: &Parts, body: &Incoming) -> u64 {
    let target = parts
        .uri
        .path_and_query()
        .map_or(1, |target| target.as_str().len());
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| header_size(name.as_str(), value.as_bytes()));
    head_size(parts.method.as_str(), target)
        + headers.sum::<u64>()
        + body.size_hint().exact().unwrap_or(0)
}
