//! From a request that hyper has read to the handler of its route, and back to a response.

use super::answer::Answer;
use super::answer_body::AnswerBody;
use super::front_end::FrontEnd;
use super::head::{head_size, header_size};
use super::head_check::{check_head, expects_continue};
use super::negotiation;
use super::push_request::PushRequest;
use super::request_body;
use super::route::{ApiRoute, NoRoute, Route};
use super::{admin, api_v1, import, push, scrape};
use crate::gateway::PushMode;
use crate::gateway::decode::{BodyEncoding, check_gzip_header};
use crate::gateway::service_state::Impediment;
use crate::telemetry::{EarlyRefusal, Endpoint, Handler, Method};
use crate::ui;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use std::time::Instant;

/// Answers a request of `client`.
pub(super) async fn answer(
    front_end: &FrontEnd,
    client: &Endpoint,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let is_draining = front_end.is_draining();
    let (parts, body) = request.into_parts();
    let routes = &front_end.options.routes;
    let found = routes.find(parts.method.as_str(), parts.uri.path(), parts.uri.query());
    if let Some(refused) = check_head(&parts) {
        return refused.into_response();
    }
    if let Ok(route) = &found
        && let Some(refused) = check_service(front_end, route)
    {
        return refused.into_response();
    }
    let is_head = parts.method == hyper::Method::HEAD;
    let is_api = routes.is_api(parts.uri.path());
    let checked = match &found {
        // The API ignores how a body is compressed. A push checks that itself, with the whole body.
        // The reference redirects to clean paths before it looks at a body.
        _ if is_api => Ok(Some(body)),
        Ok(Route::Push(_))
        | Err(NoRoute::Redirect {
            is_permanent: true, ..
        }) => Ok(Some(body)),
        // On the heap, here and below: the futures of such requests are larger than that of a push,
        // and every idle connection would keep room for them.
        _ => Box::pin(check_gzip(front_end, &parts, body)).await,
    };
    let mut answer = match (checked, found) {
        (Err(refused), _) => refused,
        (
            Ok(body),
            Ok(route @ (Route::Push(_) | Route::Delete(_) | Route::Api(ApiRoute::Import))),
        ) => answer_with_body(front_end, client, route, &parts, body).await,
        (Ok(body), found) => {
            let is_read = match body {
                Some(body) if !body.is_end_stream() => {
                    Box::pin(request_body::discard(
                        body,
                        expects_continue(&parts.headers),
                    ))
                    .await
                }
                Some(_) | None => true,
            };
            let answer = match found {
                Ok(route) => Box::pin(answer_without_body(front_end, route, &parts)).await,
                Err(no_route) => no_route_answer(&no_route, &parts),
            };
            if is_read { answer } else { answer.unread() }
        }
    };
    if is_draining {
        answer = answer.closing();
    }
    if is_head {
        answer.body = AnswerBody::Empty;
    }
    answer.into_response()
}

/// Refuses a request whose body says that it is compressed by gzip and is not: the reference looks
/// at that even where it does not read the body. Returns the body unless it was received here.
async fn check_gzip(
    front_end: &FrontEnd,
    parts: &Parts,
    body: Incoming,
) -> Result<Option<Incoming>, Answer> {
    let encoding = parts
        .headers
        .get(header::CONTENT_ENCODING)
        .map(|value| negotiation::body_encoding(value.as_bytes()));
    if encoding != Some(BodyEncoding::Gzip) {
        return Ok(Some(body));
    }
    match request_body::receive(body, front_end.body_bytes_max()).await {
        Ok(body) => check_gzip_header(&body.into_bytes())
            .map(|()| None)
            .map_err(|error| Answer::error(400, error.to_string())),
        Err(error) => Err(push::body_error_answer(&error)),
    }
}

/// Answers a push, a delete or an import. There is no `body` if it was received before.
async fn answer_with_body(
    front_end: &FrontEnd,
    client: &Endpoint,
    route: Route<'_>,
    parts: &Parts,
    body: Option<Incoming>,
) -> Answer {
    let began = Instant::now();
    let method = method_of(parts);
    match (route, body) {
        (Route::Push(path), Some(body)) => {
            let size = request_size(parts, &body);
            let mode = if method == Method::Put {
                PushMode::Replace
            } else {
                PushMode::Merge
            };
            let path = &path;
            let request = PushRequest { mode, path, client };
            let answer = push::push(front_end, request, &parts.headers, body).await;
            push::count_push(front_end, method, &answer, size, began);
            answer
        }
        (Route::Api(ApiRoute::Import), Some(body)) => {
            let answer = Box::pin(import::import(front_end, &parts.headers, body)).await;
            count(front_end, Handler::Import, method, &answer);
            answer
        }
        (Route::Delete(path), body) => {
            let answer = Box::pin(push::delete(front_end, &path, body)).await;
            count(front_end, Handler::Delete, method, &answer);
            answer
        }
        _ => unreachable!("no other route looks at the body"),
    }
}

/// The method of a request that has a route.
fn method_of(parts: &Parts) -> Method {
    match parts.method {
        hyper::Method::DELETE => Method::Delete,
        hyper::Method::POST => Method::Post,
        hyper::Method::PUT => Method::Put,
        _ => Method::Get,
    }
}

fn count(front_end: &FrontEnd, handler: Handler, method: Method, answer: &Answer) {
    let requests = &front_end.gateway.telemetry.requests;
    requests.count(handler, method, answer.status);
}

/// Answers a request of a route that does not look at the body.
async fn answer_without_body(front_end: &FrontEnd, route: Route<'_>, parts: &Parts) -> Answer {
    let method = method_of(parts);
    let (handler, answer) = match route {
        Route::Scrape => return scrape::scrape(&front_end.gateway, &parts.headers).await,
        Route::Healthy => (Handler::Healthy, Answer::text(200, "OK")),
        Route::Ready => (Handler::Ready, ready(front_end)),
        Route::Quit => (Handler::Quit, admin::quit(front_end, method)),
        Route::Status => (Handler::Status, status_page(front_end)),
        Route::Static => (Handler::Static, Answer::error(404, "404 page not found")),
        Route::Api(ApiRoute::Options) => return api_v1::options(),
        Route::Api(ApiRoute::Status) => (Handler::ApiStatus, api_v1::status(front_end)),
        Route::Api(ApiRoute::Metrics { job, instance }) => (
            Handler::ApiMetrics,
            api_v1::metrics(&front_end.gateway, job, instance).await,
        ),
        Route::Api(ApiRoute::Wipe) => (Handler::Wipe, admin::wipe(front_end).await),
        Route::Push(_) | Route::Delete(_) | Route::Api(ApiRoute::Import) => {
            unreachable!("`answer_with_body` answers them")
        }
    };
    count(front_end, handler, method, &answer);
    answer
}

/// Answers `/-/ready`: whether the gateway takes pushes and keeps them.
fn ready(front_end: &FrontEnd) -> Answer {
    let service = &front_end.gateway.service;
    if service.has(Impediment::Draining) {
        Answer::error(503, "shutting down")
    } else if service.has(Impediment::Restoring) {
        Answer::error(503, RESTORING)
    } else if service.has(Impediment::DiskFailed) {
        Answer::error(503, "the state cannot be written to disk")
    } else {
        Answer::text(200, "OK")
    }
}

const RESTORING: &str = "the groups are being restored from disk; try again in a second";

/// Refuses a request that needs the groups while they are being restored, and one that changes them
/// while they cannot be written to disk and pushes have to be.
fn check_service(front_end: &FrontEnd, route: &Route<'_>) -> Option<Answer> {
    let gateway = &front_end.gateway;
    if gateway.service.is_usual() {
        return None;
    }
    let changes = matches!(
        route,
        Route::Push(_) | Route::Delete(_) | Route::Api(ApiRoute::Wipe | ApiRoute::Import)
    );
    let reads = matches!(
        route,
        Route::Scrape | Route::Status | Route::Api(ApiRoute::Metrics { .. })
    );
    let refused = |answer: Answer, refusal: EarlyRefusal| {
        if let Route::Push(_) = route {
            gateway.telemetry.count_refusal(refusal.reason());
        }
        Some(answer.unread())
    };
    if gateway.service.has(Impediment::Restoring) && (changes || reads) {
        let answer =
            Answer::error(503, RESTORING).with(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return refused(answer, EarlyRefusal::Restoring);
    }
    if gateway.service.has(Impediment::DiskFailed) && gateway.is_push_durable() && changes {
        let answer = push::not_on_disk_answer("the state cannot be written to disk");
        return refused(answer, EarlyRefusal::NotOnDisk);
    }
    None
}

fn status_page(front_end: &FrontEnd) -> Answer {
    let options = &front_end.options;
    let page = ui::status_page(&ui::StatusPage {
        n_groups: front_end.gateway.n_groups(),
        root: &options.routes.root(),
        telemetry_path: options.routes.telemetry_path(),
        version: env!("CARGO_PKG_VERSION"),
        flags: &options.flags,
    });
    Answer::with_body(
        200,
        HeaderValue::from_static("text/html; charset=utf-8"),
        AnswerBody::bytes(page),
    )
}

/// Answers a request that has no route.
fn no_route_answer(no_route: &NoRoute, parts: &Parts) -> Answer {
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
            is_permanent,
            location,
        } => {
            let (status, text) = if *is_permanent {
                (301, "Moved Permanently")
            } else {
                (307, "Temporary Redirect")
            };
            let answer =
                if parts.method == hyper::Method::GET || parts.method == hyper::Method::HEAD {
                    // The location is percent-encoded: of its bytes only `&` means something in
                    // HTML.
                    let body = format!(
                        "<a href=\"{}\">{text}</a>.\n\n",
                        location.replace('&', "&amp;")
                    );
                    Answer::with_body(
                        status,
                        HeaderValue::from_static("text/html; charset=utf-8"),
                        AnswerBody::bytes(body),
                    )
                } else {
                    Answer::empty(status)
                };
            let location = HeaderValue::try_from(location).expect("a location is percent-encoded");
            answer.with(header::LOCATION, location)
        }
    }
}

/// The size of a request as the reference counts it, in bytes: request line, headers and announced
/// body, without separators.
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
