//! Tests of the way of a push into the store.

use super::*;
use crate::store::Config;
use std::borrow::Cow;

const TEXT: BodyType = BodyType {
    format: BodyFormat::Text,
    encoding: BodyEncoding::Identity,
};

fn ingester() -> Ingester {
    let options = IngestOptions {
        names: NameScheme::Legacy,
        body_limits: BodyLimits {
            body_bytes_max: 1 << 20,
            decoded_bytes_max: 1 << 20,
            decoded_ratio_max: 200,
        },
        parse_limits: ParseLimits {
            series_max: 3,
            labels_max: 2,
        },
    };
    let store = Arc::new(Store::new(Config::default()));
    Ingester::start(store, Arc::new(Telemetry::new()), options, || ()).expect("threads start")
}

fn labels(job: &str) -> GroupingLabels<'_> {
    GroupingLabels::new(SmallVec::new(), Cow::Borrowed(job))
}

/// Pushes `body` to `job`; an error is what a client would read.
fn push(ingester: &Ingester, job: &str, body_type: BodyType, body: &str) -> Result<(), String> {
    let outcome = ingester.ingest(&IncomingPush {
        mode: PushMode::Replace,
        labels: &labels(job),
        body_type,
        body: body.as_bytes(),
        received_at_ns: 1,
    });
    match outcome {
        IngestOutcome::Accepted => Ok(()),
        IngestOutcome::Refused(refusal) => Err(refusal.to_string()),
        IngestOutcome::Busy(_) => panic!("there is no other push"),
    }
}

/// The value of the only series of a group.
fn value(ingester: &Ingester, job: &str) -> Option<f64> {
    let group = ingester.store.group(&labels(job).key())?;
    assert_eq!(group.values.len(), 1);
    Some(f64::from_bits(group.values[0]))
}

#[test]
fn a_push_is_in_effect_when_it_is_accepted() {
    let ingester = ingester();
    assert_eq!(push(&ingester, "a", TEXT, "x 1\n"), Ok(()));
    assert_eq!(value(&ingester, "a"), Some(1.0));
    // Read along the form of the first push to the group, then of the last push to the job.
    assert_eq!(push(&ingester, "a", TEXT, "x 2\n"), Ok(()));
    assert_eq!(value(&ingester, "a"), Some(2.0));
}

#[test]
fn a_refused_push_says_why_and_changes_no_value() {
    let ingester = ingester();
    assert_eq!(push(&ingester, "a", TEXT, "x 1\n"), Ok(()));
    let gzip = BodyType {
        encoding: BodyEncoding::Gzip,
        ..TEXT
    };
    let protobuf = BodyType {
        format: BodyFormat::Protobuf,
        ..TEXT
    };
    for (body_type, body, text) in [
        (TEXT, "x{\n", "text format parsing error in line 1"),
        (
            TEXT,
            "x 1\ny 1\nz 1\nw 1\n",
            "the push has more than 3 series",
        ),
        (TEXT, "x 1 1\n", "pushed metrics must not have timestamps"),
        (gzip, "not compressed", "gzip: invalid header"),
        (protobuf, "\u{1}", "unexpected EOF"),
    ] {
        let refusal = push(&ingester, "a", body_type, body).expect_err(body);
        assert!(refusal.starts_with(text), "{body}: {refusal}");
        assert_eq!(value(&ingester, "a"), Some(1.0), "{body}");
    }
    let refusal = push(&ingester, "b", TEXT, "# TYPE x gauge\nx 1\n").expect_err("x is untyped");
    assert!(refusal.ends_with("is not a GAUGE"), "{refusal}");
}

#[test]
fn a_body_that_does_not_parse_may_be_a_form() {
    let ingester = ingester();
    let form = BodyType {
        format: BodyFormat::TextOrForm,
        ..TEXT
    };
    assert_eq!(push(&ingester, "a", form, "x+1"), Ok(()));
    assert_eq!(value(&ingester, "a"), Some(1.0));
    assert!(push(&ingester, "b", TEXT, "x+1").is_err());
}

fn large(job: &str, body: &str) -> LargePush {
    let mut pieces = BodyPieces::default();
    pieces.add(body.to_owned().into());
    LargePush {
        mode: PushMode::Replace,
        key: Arc::new(labels(job).key()),
        body_type: TEXT,
        body: pieces,
        received_at_ns: 1,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().expect("a runtime")
}

#[test]
fn a_large_push_has_the_same_effect() {
    let ingester = ingester();
    let runtime = runtime();
    let push = |body: &str| {
        runtime
            .block_on(ingester.ingest_large(large("a", body)))
            .map_err(|refusal| refusal.to_string())
    };
    assert_eq!(push("x 7\n"), Ok(()));
    assert!(push("x{\n").is_err());
    assert_eq!(value(&ingester, "a"), Some(7.0));
    assert_eq!(push("x 8\n"), Ok(()));
    assert_eq!(value(&ingester, "a"), Some(8.0));
}

#[test]
fn a_large_push_is_forgotten_when_its_client_has_gone() {
    let ingester = ingester();
    let runtime = runtime();
    let blocked = ingester.parse_pool.block_lane(1);
    runtime.block_on(async {
        // Polled once, which queues the push, then dropped.
        let push = ingester.ingest_large(large("gone", "x 1\n"));
        let timeout = std::pin::pin!(std::future::ready(()));
        tokio::select! {
            biased;
            _ = push => unreachable!("the thread is blocked"),
            () = timeout => {}
        }
    });
    drop(blocked);
    // Queued behind the forgotten one.
    let pushed = runtime.block_on(ingester.ingest_large(large("stayed", "x 2\n")));
    assert!(pushed.is_ok());
    assert_eq!(value(&ingester, "stayed"), Some(2.0));
    assert_eq!(value(&ingester, "gone"), None);
}

#[test]
fn a_large_push_is_refused_when_its_lane_is_full() {
    let ingester = ingester();
    let rooms: Vec<_> = std::iter::from_fn(|| ingester.parse_pool.reserve(1)).collect();
    let push = || runtime().block_on(ingester.ingest_large(large("a", "x 1\n")));
    assert!(matches!(push(), Err(PushRefusal::QueueFull)));
    drop(rooms);
    assert!(push().is_ok());
    // The room of a push is given back when it is answered.
    for _ in 0..1000 {
        assert!(push().is_ok());
    }
}
