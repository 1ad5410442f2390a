//! Groups for tests of this module, and a plain way to render them, to compare with.

use super::document::Document;
use super::exposition::Exposition;
use super::format::Format;
use crate::model::{Families, FamiliesBuilder, GroupingKey, MetricFlags, MetricType};
use crate::store::{MarkedSlot, Snapshot};
use bytes::Buf;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// The gateway's own families in these tests: name and type. Each has the value 7.
pub(super) const OWN: &[(&str, MetricType)] =
    &[("m_own", MetricType::Counter), ("x_own", MetricType::Gauge)];

/// Gauges as name, help and values; each value is a metric with the label `i`.
pub(super) type Pushed = Vec<(String, Option<String>, Vec<f64>)>;

pub(super) fn families(pushed: &Pushed) -> Families {
    let mut builder = FamiliesBuilder::new();
    for (name, help, values) in pushed {
        builder.family(name, MetricType::Gauge, help.as_deref());
        for (i, value) in values.iter().enumerate() {
            builder.label("i", &i.to_string());
            builder.value(value.to_bits());
            builder.end_metric(MetricFlags::default());
        }
    }
    builder.finish().unwrap()
}

/// Makes snapshots in which equal layouts are shared, as the store shares them.
#[derive(Default)]
pub(super) struct Snapshots {
    layouts: Vec<Arc<crate::store::Layout>>,
    /// The version of the newest snapshot.
    pub version: u64,
}

impl Snapshots {
    /// The snapshot after a push to the group in this slot. The version is also the push time, in
    /// seconds.
    pub fn live(&mut self, slot: u32, pushed: &Pushed) -> MarkedSlot {
        let families = families(pushed);
        let key = key(slot);
        let known = self
            .layouts
            .iter()
            .find(|layout| *layout.skeleton() == families.skeleton)
            .cloned();
        let layout = known.unwrap_or_else(|| {
            let layout =
                Arc::new(crate::store::Layout::new(families.skeleton.clone(), &key).unwrap());
            self.layouts.push(Arc::clone(&layout));
            layout
        });
        self.version += 1;
        let push_time = i64::try_from(self.version).unwrap() * 1_000_000_000;
        let snapshot = Snapshot::for_test(self.version, key, layout, families.values, push_time);
        MarkedSlot {
            slot,
            snapshot: Arc::new(snapshot),
        }
    }

    /// The tombstone after the group of this snapshot was deleted.
    pub fn deleted(&mut self, of: &MarkedSlot) -> MarkedSlot {
        self.version += 1;
        MarkedSlot {
            slot: of.slot,
            snapshot: Arc::new(of.snapshot.tombstone(self.version, of.snapshot.layout())),
        }
    }
}

/// The grouping key of the group in this slot.
pub(super) fn key(slot: u32) -> Arc<GroupingKey> {
    Arc::new(GroupingKey::new([("job", "j"), ("instance", slot.to_string().as_str())]).unwrap())
}

/// The metrics of the gateway's own families.
pub(super) fn own() -> Families {
    let mut builder = FamiliesBuilder::new();
    for (name, metric_type) in OWN {
        builder.family(name, *metric_type, Some("own"));
        builder.value(7f64.to_bits());
        builder.end_metric(MetricFlags::default());
    }
    builder.finish().unwrap()
}

/// All bytes of the document of an exposition, read in steps that do not end where slices end.
pub(super) fn bytes_of(exposition: Exposition, format: Format, gzip: bool) -> Vec<u8> {
    let mut document =
        Document::new(Arc::new(exposition), format, gzip, &own(), OWN).expect("the view is kept");
    let len = document.remaining();
    let mut bytes = Vec::new();
    let mut random = fastrand::Rng::with_seed(3);
    while document.has_remaining() {
        let step = random.usize(1..=document.chunk().len().min(997));
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        assert!(document.chunks_vectored(&mut slices) > 0);
        assert_eq!(&*slices[0], document.chunk());
        bytes.extend_from_slice(&document.chunk()[..step]);
        document.advance(step);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_end(&mut plain)
        .expect("one valid member");
    plain
}

/// The help of a family that these groups have pushed: the smallest one that is not empty, else an
/// empty one.
fn help_of(groups: &BTreeMap<u32, (Pushed, u64)>, name: &str) -> Option<String> {
    let pushed = groups.values().flat_map(|(pushed, _)| pushed);
    let helps = pushed.filter(|family| family.0 == name && !family.2.is_empty());
    helps
        .filter_map(|(_, help, _)| help.clone())
        .min_by_key(|help| (help.is_empty(), help.clone()))
}

/// Renders an exposition from nothing: all families of all groups, sorted. `groups` are by slot
/// what was pushed and its version.
pub(super) fn render_plainly(groups: &BTreeMap<u32, (Pushed, u64)>) -> String {
    let mut helps: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut all: BTreeMap<String, (Option<String>, String)> = BTreeMap::new();
    let mut add = |name: &str, help: Option<String>, line: String| {
        let entry = all.entry(name.to_owned()).or_default();
        entry.0 = help;
        entry.1 += &line;
    };
    for (name, _) in OWN {
        add(name, Some("own".to_owned()), format!("{name} 7\n"));
    }
    for (slot, (pushed, version)) in groups {
        for (name, _, values) in pushed {
            for (i, value) in values.iter().enumerate() {
                let help = if name.ends_with("_own") {
                    Some("own".to_owned())
                } else {
                    let help = helps.entry(name).or_insert_with(|| help_of(groups, name));
                    help.clone()
                };
                add(
                    name,
                    help,
                    format!("{name}{{i=\"{i}\",instance=\"{slot}\",job=\"j\"}} {value}\n"),
                );
            }
        }
        let labels = format!("{{instance=\"{slot}\",job=\"j\"}}");
        let help = |verb| {
            Some(format!(
                "Last Unix time when changing this group in the Pushgateway {verb}."
            ))
        };
        add(
            "push_failure_time_seconds",
            help("failed"),
            format!("push_failure_time_seconds{labels} 0\n"),
        );
        add(
            "push_time_seconds",
            help("succeeded"),
            format!("push_time_seconds{labels} {version}\n"),
        );
    }
    let mut text = String::new();
    for (name, (help, lines)) in all {
        if let Some(help) = help {
            text += &format!("# HELP {name} {help}\n");
        }
        let metric_type = if name == "m_own" { "counter" } else { "gauge" };
        text += &format!("# TYPE {name} {metric_type}\n{lines}");
    }
    text
}
