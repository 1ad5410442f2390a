//! GET of the telemetry path.

use super::answer::Answer;
use super::body::Body;
use super::gateway::Gateway;
use super::negotiation::{self, Wanted};
use crate::exposition::protobuf;
use crate::model::Escaping;
use crate::scrape::{Document, Format};
use crate::telemetry::OWN_FAMILIES;
use bytes::Buf;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Answers a scrape with everything that was answered before it came.
pub(super) async fn scrape(gateway: &Gateway, headers: &HeaderMap) -> Answer {
    let (wanted, escaping) = negotiation::format(header_text(headers, &header::ACCEPT));
    let gzip = negotiation::wants_gzip(header_text(headers, &header::ACCEPT_ENCODING));
    let content_type =
        HeaderValue::try_from(wanted.content_type(escaping)).expect("a content type is ASCII");
    let body = match wanted {
        Wanted::Text => Body::document(document(gateway, Format::Text(escaping), gzip).await),
        Wanted::Delimited => {
            Body::document(document(gateway, Format::Protobuf(escaping), gzip).await)
        }
        Wanted::ProtoText | Wanted::CompactText => {
            let text = as_text(gateway, escaping, wanted == Wanted::CompactText).await;
            // For people who look: nobody scrapes it, so it is neither kept nor compressed.
            return Answer::of(200, content_type, Body::bytes(text));
        }
    };
    let answer = Answer::of(200, content_type, body);
    if gzip {
        answer.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    } else {
        answer
    }
}

async fn document(gateway: &Gateway, format: Format, gzip: bool) -> Document {
    let exposition = gateway.current_exposition(format, gzip).await;
    let own = gateway.telemetry.families(&exposition, gateway.now_ms());
    Document::new(exposition, format, gzip, &own, OWN_FAMILIES).expect("the format was asked for")
}

async fn as_text(gateway: &Gateway, escaping: Escaping, is_compact: bool) -> String {
    let mut document = document(gateway, Format::Protobuf(escaping), false).await;
    let delimited = document.copy_to_bytes(document.remaining());
    protobuf::to_text(&delimited, is_compact)
}

/// The first header of this name.
fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
