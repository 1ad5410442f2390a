//! GET of the telemetry path.

use super::answer::Answer;
use super::answer_body::AnswerBody;
use super::negotiation::{self, ScrapeFormat};
use crate::exposition::protobuf::TextFormWriter;
use crate::gateway::Gateway;
use crate::scrape::{Document, Format};
use crate::telemetry::OWN_FAMILIES;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// Answers a scrape with everything that was answered before it came.
pub(super) async fn scrape(gateway: &Gateway, headers: &HeaderMap) -> Answer {
    // The reference reads only the first `Accept`, but every `Accept-Encoding`.
    let accept = header_text(headers, &header::ACCEPT);
    let (format, escaping) = negotiation::scrape_format(accept);
    let gzip = negotiation::wants_gzip(&header_list(headers, &header::ACCEPT_ENCODING));
    let content_type =
        HeaderValue::try_from(format.content_type(escaping)).expect("a content type is ASCII");
    let document = match format {
        ScrapeFormat::Text => document(gateway, Format::Text(escaping), gzip).await,
        ScrapeFormat::Delimited => document(gateway, Format::Protobuf(escaping), gzip).await,
        ScrapeFormat::ProtoText | ScrapeFormat::CompactText => {
            let is_compact = format == ScrapeFormat::CompactText;
            // Such text is for people to look at, no scraper asks for it: it is made for each
            // request and not compressed. A request that waits holds no exposition in memory.
            let Ok(slot) = gateway.answers.slot().await else {
                return Answer::too_many_answers();
            };
            let document = document(gateway, Format::Protobuf(escaping), false).await;
            let text = slot.stream(TextFormWriter::new(document, is_compact));
            return Answer::with_body(200, content_type, AnswerBody::Stream(text));
        }
    };
    let answer = Answer::with_body(200, content_type, AnswerBody::document(document));
    if gzip {
        answer.with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    } else {
        answer
    }
}

/// The exposition in a format, with the gateway's own families as they are now.
async fn document(gateway: &Gateway, format: Format, gzip: bool) -> Document {
    let exposition = gateway.current_exposition(format, gzip).await;
    let own = gateway.own_families(&exposition);
    Document::new(exposition, format, gzip, &own, OWN_FAMILIES).expect("the format was asked for")
}

/// The first header with this name; empty if there is none, or if it is not visible ASCII.
fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(visible).unwrap_or_default()
}

/// The list in all headers with this name. Those that are not visible ASCII do not count.
fn header_list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = headers.get_all(name).iter().filter_map(visible);
    let first = values.next().unwrap_or_default();
    values.fold(Cow::Borrowed(first), |list, value| {
        format!("{list}, {value}").into()
    })
}

fn visible(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}
