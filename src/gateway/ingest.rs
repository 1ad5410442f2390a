//! The way of a push from its bytes into the store. Nothing here knows HTTP.
//!
//! [`Ingester::ingest`] takes a push as it was received and brings it into effect, in three steps
//! of which most pushes need only the first:
//!
//! 1. *Known layout.* Most pushes have the names and labels of the last push to their group and
//!    differ only in their numbers. Such a body is compared with the form of that push (the bytes
//!    between its numbers), only the numbers are read, and the group gets them. A push to a new
//!    group is compared with the last pushes to its job in the same way.
//! 2. *Parse.* Any other body is decompressed ([`decode`]) and parsed.
//! 3. *Admit.* The store checks the push against the other groups and publishes it.
//!
//! A push is accepted, refused, or has to wait for another push ([`IngestOutcome`]). A push that
//! waits holds nothing: its client may go away at any time.
//!
//! [`Ingester::ingest_large`] does the same for large bodies: parses them on the threads of the
//! [`ParsePool`], and admits them on that of the [`Admitter`].

use super::admitter::{Admitter, PreparedPush};
use super::back_off::BackOff;
use super::body_pieces::BodyPieces;
use super::decode::{
    BodyEncoding, BodyFormat, BodyLimits, BodyType, DecodeError, decode, decode_urlencoded_form,
};
use super::grouping_labels::GroupingLabels;
use super::parse_pool::{LARGE_BODY_BYTES, ParsePool, ReservedRoom};
use crate::exposition::{ParseLimits, protobuf, text};
use crate::model::{Families, GroupingKey, NameScheme};
use crate::store::{Layout, Outcome, Push, PushMode, Refusal, Store};
use crate::sync::Flag;
use crate::telemetry::{EarlyRefusal, Telemetry};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The form of a body is kept, and compared with later bodies, up to this size: that of the bodies
/// that runtime workers parse. The forms of larger bodies would take as much memory as the bodies.
const FORM_BYTES_MAX: usize = LARGE_BODY_BYTES;

/// What the operator decides about pushes.
#[derive(Clone, Copy, Debug)]
pub struct IngestOptions {
    /// Which names metrics, labels and grouping labels may have.
    pub names: NameScheme,
    /// How large a body may be.
    pub body_limits: BodyLimits,
    /// How much a body may hold.
    pub parse_limits: ParseLimits,
}

/// A push as it was received.
pub(crate) struct IncomingPush<'a, 'text> {
    /// Whether the push replaces its group or is merged into it.
    pub mode: PushMode,
    /// The group.
    pub labels: &'a GroupingLabels<'text>,
    /// How the body is to be read.
    pub body_type: BodyType,
    /// The body, not larger than [`BodyLimits::body_bytes_max`]: the code that receives a body
    /// enforces that limit before the body is in memory.
    pub body: &'a [u8],
    /// When the push was received, in nanoseconds since the Unix epoch.
    pub received_at_ns: i64,
}

/// A push with a large body as it was received: like [`IncomingPush`], but with its own data.
pub(crate) struct LargePush {
    pub mode: PushMode,
    pub key: Arc<GroupingKey>,
    pub body_type: BodyType,
    /// Not larger than [`BodyLimits::body_bytes_max`].
    pub body: BodyPieces,
    /// In nanoseconds since the Unix epoch.
    pub received_at_ns: i64,
}

/// What became of a push.
pub(crate) enum IngestOutcome {
    /// The push is in effect: every later scrape shows it.
    Accepted,
    /// The push is not in effect.
    Refused(PushRefusal),
    /// Another push is about to decide something that this push depends on. This push holds
    /// nothing. Yield, then call [`Ingester::try_again`].
    Busy(Box<PendingPush>),
}

/// A push that was read and has to wait for another push.
pub(crate) struct PendingPush(Push);

/// Why a push was refused. `Display` says it in the words for clients, without command-line flags.
#[derive(Debug)]
pub(crate) enum PushRefusal {
    /// The body cannot be decompressed.
    Decode(DecodeError),
    /// The body is not in the text format, or holds more than the limits allow.
    Text(text::ParseError),
    /// The body is not delimited protobuf, or holds more than the limits allow.
    Protobuf(protobuf::ParseError),
    /// The parser panicked on this body, which is a bug.
    ParserFailed,
    /// Too many large pushes wait to be parsed.
    QueueFull,
    /// The store refused the push.
    Store {
        /// The group it was pushed to.
        key: Arc<GroupingKey>,
        /// What it contradicts.
        refusal: Refusal,
    },
}

impl fmt::Display for PushRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Text(error) => error.fmt(f),
            Self::Protobuf(error) => error.fmt(f),
            Self::ParserFailed => f.write_str("the parser failed on this body"),
            Self::QueueFull => {
                f.write_str("too many large pushes are waiting to be parsed; try again in a second")
            }
            Self::Store { refusal, .. } => refusal.fmt(f),
        }
    }
}

impl PushRefusal {
    /// The label `reason` of `pushgateway_pushes_refused_total`; none for a bug of the gateway's, which
    /// is not a refusal.
    pub fn reason(&self) -> Option<&'static str> {
        let early = match self {
            Self::Decode(DecodeError::Corrupt(_)) => EarlyRefusal::Encoding,
            Self::Decode(DecodeError::TooLarge { .. } | DecodeError::RatioTooLarge { .. })
            | Self::Text(text::ParseError::TooManySeries(_))
            | Self::Protobuf(protobuf::ParseError::TooManySeries(_)) => EarlyRefusal::TooLarge,
            Self::Text(_) | Self::Protobuf(_) => EarlyRefusal::Malformed,
            Self::ParserFailed => return None,
            Self::QueueFull => EarlyRefusal::QueueFull,
            Self::Store { refusal, .. } => return Some(refusal.reason()),
        };
        Some(early.reason())
    }

    fn count(&self, telemetry: &Telemetry) {
        if let Some(reason) = self.reason() {
            telemetry.count_refusal(reason);
        }
    }
}

/// What comparing a body with the forms of earlier pushes has led to.
enum KnownLayout {
    /// The group has this layout. Its numbers were replaced: the push is in effect.
    Published,
    /// A group of the same job has this layout, and these are the numbers of the push.
    OfJob(Arc<Layout>, SmallVec<[u64; 12]>),
    /// No form that was compared fits: the body has to be parsed.
    Unknown,
}

/// Brings pushes into effect.
pub(crate) struct Ingester {
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    options: IngestOptions,
    parse_pool: ParsePool,
    admitter: Admitter,
    /// There were large pushes since [`request_release`](Self::request_release) was last called.
    has_had_large: Flag,
}

impl Ingester {
    /// An ingester for `store`, which counts in `telemetry` what is refused. Starts the threads
    /// for large bodies, which call `release_memory` when much was freed.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(
        store: Arc<Store>,
        telemetry: Arc<Telemetry>,
        options: IngestOptions,
        release_memory: fn(),
    ) -> std::io::Result<Self> {
        Ok(Self {
            admitter: Admitter::start(Arc::clone(&store), release_memory)?,
            parse_pool: ParsePool::start(release_memory)?,
            store,
            telemetry,
            options,
            has_had_large: Flag::default(),
        })
    }

    /// What the operator decided about pushes.
    pub fn options(&self) -> &IngestOptions {
        &self.options
    }

    /// The thread that brings large pushes and wipes into effect.
    pub(super) fn admitter(&self) -> &Admitter {
        &self.admitter
    }

    /// The threads for large bodies and their queues, so that tests can hold them.
    #[cfg(test)]
    pub fn parse_pool(&self) -> &ParsePool {
        &self.parse_pool
    }

    /// Reads a push and brings it into effect, unless it is refused or has to wait. Not for bodies
    /// that are [large](BodyType::is_large), which would keep other work from this thread.
    pub fn ingest(&self, incoming: &IncomingPush<'_, '_>) -> IngestOutcome {
        let key = || Arc::new(incoming.labels.key());
        let (mode, received_at_ns) = (incoming.mode, incoming.received_at_ns);
        let push = match self.publish_if_layout_is_known(incoming) {
            KnownLayout::Published => return IngestOutcome::Accepted,
            KnownLayout::OfJob(layout, values) => {
                Push::of_layout(key(), layout, values, mode, received_at_ns)
            }
            KnownLayout::Unknown => match parse(incoming.body_type, incoming.body, &self.options) {
                Ok(families) => Push::new(key(), families, mode, received_at_ns),
                Err(refusal) => return self.refused(refusal),
            },
        };
        self.admit(push)
    }

    /// Tries to bring a push into effect that had to wait.
    pub fn try_again(&self, mut pending: Box<PendingPush>) -> IngestOutcome {
        match self.store.push(&mut pending.0) {
            Outcome::Busy => IngestOutcome::Busy(pending),
            Outcome::Done => IngestOutcome::Accepted,
            Outcome::Refused(refusal) => self.refused_by_store(&pending.0, refusal),
        }
    }

    /// Brings a push into effect that had to wait, or says why it is refused. Lets other tasks run
    /// between its attempts, and backs off.
    ///
    /// # Errors
    ///
    /// The push is refused.
    pub async fn admit_when_free(&self, mut pending: Box<PendingPush>) -> Result<(), PushRefusal> {
        let mut back_off = BackOff::default();
        loop {
            pending = match self.try_again(pending) {
                IngestOutcome::Accepted => return Ok(()),
                IngestOutcome::Refused(refusal) => return Err(refusal),
                IngestOutcome::Busy(pending) => pending,
            };
            back_off.wait().await;
        }
    }

    /// Has the threads for large bodies give memory back to the system, which other threads have freed
    /// meanwhile. Returns whether there were large pushes since this was last called.
    pub fn request_release(&self) -> bool {
        self.parse_pool.request_release();
        self.admitter.request_release();
        self.has_had_large.take()
    }

    /// Brings a push with a large body into effect, or says why it is refused.
    ///
    /// For such a body it takes milliseconds to join its pieces, to parse it, to compare it with
    /// what its group had, and to free that again. All of this is done away from the runtime's
    /// workers, so that small pushes there do not wait for it. If this future is dropped, because
    /// the client has gone, the push is forgotten, unless it is being brought into effect already.
    ///
    /// # Errors
    ///
    /// The push is refused.
    pub async fn ingest_large(&self, large: LargePush) -> Result<(), PushRefusal> {
        self.has_had_large.raise();
        let result = self.parse_and_admit(large).await;
        if let Err(refusal) = &result {
            refusal.count(&self.telemetry);
        }
        result
    }

    /// Runs `job`, which reads a body of `n_bytes`, on a thread for large bodies. Returns the room of
    /// the body there, which is given back when the caller drops it; `None`, without running `job`,
    /// if there is no room.
    pub fn run_for_large_body(
        &self,
        n_bytes: usize,
        job: impl FnOnce() + Send + 'static,
    ) -> Option<ReservedRoom> {
        let room = self.parse_pool.reserve(n_bytes)?;
        self.has_had_large.raise();
        self.parse_pool.run(n_bytes, job);
        Some(room)
    }

    async fn parse_and_admit(&self, large: LargePush) -> Result<(), PushRefusal> {
        let key = Arc::clone(&large.key);
        let n_bytes = large.body_type.expected_bytes(large.body.len());
        let room = self
            .parse_pool
            .reserve(n_bytes)
            .ok_or(PushRefusal::QueueFull)?;
        let (parsed, is_parsed) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let (store, options) = (Arc::clone(&self.store), self.options);
        let prepared = self.admitter.queue();
        self.parse_pool.run(n_bytes, move || {
            if done.is_closed() {
                return;
            }
            let families = match parse(large.body_type, &large.body.into_bytes(), &options) {
                Ok(families) => families,
                Err(refusal) => {
                    // An error says that the client has gone.
                    let _ = parsed.send(refusal);
                    return;
                }
            };
            let mut push = Push::new(large.key, families, large.mode, large.received_at_ns);
            if done.is_closed() {
                return;
            }
            store.prepare(&mut push);
            // Fails only when the gateway is dropped.
            let _ = prepared.send(PreparedPush { push, done, room });
        });
        if let Ok(refusal) = is_parsed.await {
            return Err(refusal);
        }
        match is_done.await {
            Ok(result) => result.map_err(|refusal| PushRefusal::Store { key, refusal }),
            Err(_) => Err(PushRefusal::ParserFailed),
        }
    }

    fn admit(&self, mut push: Push) -> IngestOutcome {
        match self.store.push(&mut push) {
            Outcome::Done => IngestOutcome::Accepted,
            Outcome::Refused(refusal) => self.refused_by_store(&push, refusal),
            Outcome::Busy => IngestOutcome::Busy(Box::new(PendingPush(push))),
        }
    }

    /// Compares the body with the forms of the last pushes to the group, then to the job. Where the
    /// group itself has the layout, the push is in effect when this returns.
    fn publish_if_layout_is_known(&self, incoming: &IncomingPush<'_, '_>) -> KnownLayout {
        let IncomingPush { labels, body, .. } = incoming;
        if !may_have_form(incoming.body_type, body) {
            return KnownLayout::Unknown;
        }
        let read_values = |layout: &Layout| {
            let mut values = SmallVec::from_elem(0, layout.skeleton().n_values());
            layout
                .forms()
                .any(|form| text::parse_along(form, body, &mut values))
                .then_some(values)
        };
        let key = labels.encoded();
        while let Some(found) = self.store.find(&key) {
            let Some(values) = read_values(found.snapshot().layout()) else {
                break;
            };
            if self
                .store
                .push_numbers(&found, values, incoming.received_at_ns)
            {
                return KnownLayout::Published;
            }
            // Another push to the group came first: the group may have another layout now.
        }
        for layout in self.store.recent_layouts(labels.job()) {
            if let Some(values) = read_values(&layout) {
                return KnownLayout::OfJob(layout, values);
            }
        }
        KnownLayout::Unknown
    }

    fn refused_by_store(&self, push: &Push, refusal: Refusal) -> IngestOutcome {
        let key = Arc::clone(push.key());
        self.refused(PushRefusal::Store { key, refusal })
    }

    fn refused(&self, refusal: PushRefusal) -> IngestOutcome {
        refusal.count(&self.telemetry);
        IngestOutcome::Refused(refusal)
    }
}

/// Whether a body may be compared, as it was received, with the form of an earlier body.
fn may_have_form(body_type: BodyType, body: &[u8]) -> bool {
    body_type.format != BodyFormat::Protobuf
        && body_type.encoding == BodyEncoding::Identity
        && body.len() <= FORM_BYTES_MAX
}

/// Decompresses and parses a body.
fn parse(
    body_type: BodyType,
    body: &[u8],
    options: &IngestOptions,
) -> Result<Families, PushRefusal> {
    let (names, limits) = (options.names, options.parse_limits);
    let body =
        decode(body, body_type.encoding, options.body_limits).map_err(PushRefusal::Decode)?;
    if body_type.format == BodyFormat::Protobuf {
        return protobuf::parse_within(&body, limits).map_err(PushRefusal::Protobuf);
    }
    let parse = if body.len() <= FORM_BYTES_MAX {
        text::parse_with_form
    } else {
        text::parse_within
    };
    parse(&body, names, limits).or_else(|error| {
        // A body that parses as it was sent is never taken for a form.
        let decoded = match body_type.format {
            BodyFormat::TextOrForm => decode_urlencoded_form(&body),
            BodyFormat::Text | BodyFormat::Protobuf => None,
        };
        decoded
            .and_then(|text| text::parse_within(&text, names, limits).ok())
            .ok_or(PushRefusal::Text(error))
    })
}

#[cfg(test)]
mod tests;
