//! What the benches push: bodies of a fleet of batch jobs, 12 lines each.
#![allow(dead_code, reason = "each bench uses some of these functions")]

use pushgateway::exposition::{protobuf, text};
use pushgateway::model::{Families, GroupingKey, LabelSet, NameScheme};
use pushgateway::store::{Config, Outcome, Push, PushMode, Store};
use std::fmt::Write as _;
use std::sync::Arc;

/// The body of a push of one job of the fleet: 12 samples of 5 families, with HELP and TYPE lines.
/// `seed` determines the numbers.
pub fn fleet_body(seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = String::new();
    for name in [
        "duration_seconds",
        "last_success_timestamp_seconds",
        "records_processed",
        "exit_code",
    ] {
        let _ = write!(
            body,
            "# HELP batch_{name} Of the last run.\n# TYPE batch_{name} gauge\nbatch_{name} {}\n",
            random.f64() * 1e4
        );
    }
    body += "# TYPE batch_bytes_total counter\n";
    for step in ["fetch", "decode", "transform", "load"] {
        for direction in ["in", "out"] {
            let _ = writeln!(
                body,
                "batch_bytes_total{{direction=\"{direction}\",step=\"{step}\"}} {}",
                random.u32(..)
            );
        }
    }
    body
}

/// The body of [`fleet_body`] with one more family.
pub fn changed_body(seed: u64) -> String {
    format!(
        "{}# TYPE batch_extra gauge\nbatch_extra {seed}\n",
        fleet_body(seed)
    )
}

/// The grouping key of instance `n` of the fleet.
pub fn key(n: u64) -> Arc<GroupingKey> {
    Arc::new(
        GroupingKey::new([
            ("job", "fleet"),
            ("instance", format!("node-{n:07}").as_str()),
        ])
        .expect("a job"),
    )
}

/// The families of a body in the text format.
pub fn families(body: &str) -> Families {
    text::parse(body.as_bytes(), NameScheme::Legacy).expect("a valid body")
}

/// Converts a body in the text format to delimited protobuf messages.
pub fn delimited(body: &str) -> Vec<u8> {
    let families = families(body);
    let (key, mut out) = (
        protobuf::KeyFields::new(&LabelSet::default(), Default::default()),
        Vec::new(),
    );
    for family in families.skeleton.families() {
        let template = protobuf::FamilyTemplate::new(family, &[], false, Default::default());
        let mut metrics = Vec::new();
        template.render(
            &key,
            &families.values[family.value_range()],
            &[],
            0,
            &mut metrics,
        );
        protobuf::write_header(
            family.name(),
            family.help(),
            family.metric_type(),
            Default::default(),
            metrics.len(),
            &mut out,
        );
        out.extend_from_slice(&metrics);
    }
    out
}

/// Pushes `families` to the group `key`, in place of what the group has.
pub fn put(store: &Store, key: &Arc<GroupingKey>, families: Families) {
    let mut push = Push::new(
        Arc::clone(key),
        families,
        PushMode::Replace,
        1_700_000_000_000_000_000,
    );
    assert_eq!(store.push(&mut push), Outcome::Done);
}

/// A store with the first `n_groups` groups of the fleet.
pub fn store_of(n_groups: u64) -> Store {
    let store = Store::new(Config::default());
    for n in 0..n_groups {
        put(&store, &key(n), families(&fleet_body(n)));
    }
    store
}
