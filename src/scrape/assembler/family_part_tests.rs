//! Tests of families that have native and classic histograms: random histories, after which every
//! message of the exposition has histograms of one kind.

use super::*;
use crate::exposition::protobuf::TextFormWriter;
use crate::exposition::step_writer::write_in_pieces;
use crate::model::{Escaping, FamiliesBuilder, MetricFlags, MetricType};
use crate::scrape::Document;
use crate::scrape::testing::{OWN, Snapshots, key, own};
use crate::store::Layout;
use std::collections::BTreeMap;

/// What a group pushes: the help of `h`, and for each of its histograms whether it is native. `g` is
/// a gauge.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Push {
    help: &'static str,
    is_native: Vec<bool>,
}

impl Push {
    fn random(random: &mut fastrand::Rng) -> Self {
        // In most histories most groups have histograms of one kind.
        let kind = random.bool();
        let is_native = (0..random.usize(0..4))
            .map(|_| if random.u8(..5) == 0 { !kind } else { kind })
            .collect();
        Self {
            help: random.choice(["a", "b", "c"]).expect("not empty"),
            is_native,
        }
    }

    fn layout(&self, slot: u32) -> Arc<Layout> {
        let mut builder = FamiliesBuilder::new();
        builder.family("h", MetricType::Histogram, Some(self.help));
        for (n, &is_native) in self.is_native.iter().enumerate() {
            builder.label("n", &n.to_string());
            builder.label("kind", if is_native { "native" } else { "classic" });
            builder.value(0);
            builder.value(0);
            builder.end_metric(if is_native {
                MetricFlags::NATIVE
            } else {
                MetricFlags::default()
            });
        }
        builder.family("g", MetricType::Gauge, None);
        builder.value(0);
        builder.end_metric(MetricFlags::default());
        let skeleton = builder.finish().expect("small").skeleton;
        Arc::new(Layout::new(skeleton, &key(slot)).expect("no contradictions"))
    }

    fn n_of(&self, kind: bool) -> usize {
        self.is_native
            .iter()
            .filter(|&&native| native == kind)
            .count()
    }
}

/// The messages of `h`, each on a line.
fn messages(assembler: &Assembler) -> Vec<String> {
    let format = Format::Protobuf(Escaping::Underscores);
    let exposition = Arc::new(assembler.exposition());
    let document = Document::new(exposition, format, false, &own(), OWN).expect("kept");
    let text = write_in_pieces(TextFormWriter::new(document, true), 1 << 16);
    let text = String::from_utf8(text).expect("a text");
    let messages = text.lines().filter(|line| line.starts_with("name:\"h\""));
    messages.map(str::to_owned).collect()
}

/// The lines of `h` in text, headers included.
fn lines(assembler: &Assembler) -> Vec<String> {
    let bytes = crate::scrape::testing::bytes_of(assembler.exposition(), Format::PLAIN, false);
    let text = String::from_utf8(bytes).expect("a text");
    let is_of_h = |line: &&str| line.starts_with("h_") || line.contains(" h ");
    text.lines().filter(is_of_h).map(str::to_owned).collect()
}

fn check(assembler: &Assembler, groups: &BTreeMap<u32, Push>) {
    let pushed = || groups.values().filter(|push| !push.is_native.is_empty());
    let help = pushed().map(|push| push.help).min();
    let n_of = |kind| pushed().map(|push| push.n_of(kind)).sum::<usize>();
    // Protobuf: classic histograms first, then native ones, each with the whole header.
    let messages = messages(assembler);
    let mut left = messages.iter();
    for (kind, other, n_metrics) in [
        ("classic", "native", n_of(false)),
        ("native", "classic", n_of(true)),
    ] {
        if n_metrics > 0 {
            let message = left.next().expect("a message of this kind");
            let header = format!(
                "name:\"h\" help:\"{}\" type:HISTOGRAM metric:",
                help.expect("there is a group")
            );
            let message = message.replace("  ", " ");
            assert!(message.starts_with(&header), "{header}: {message}");
            assert!(
                message.contains(kind) && !message.contains(other),
                "{message}"
            );
            assert_eq!(message.matches("metric:").count(), n_metrics);
        }
    }
    assert_eq!(left.next(), None);
    // Text: one header, and all histograms.
    let lines = lines(assembler);
    let n_metrics = n_of(false) + n_of(true);
    let n_lines = |name: &str| lines.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(
        (n_lines("h_count{"), n_lines("h_sum{")),
        (n_metrics, n_metrics)
    );
    let header: Vec<&String> = lines
        .iter()
        .take_while(|line| line.starts_with('#'))
        .collect();
    assert_eq!(header.len(), n_lines("#"));
    if let Some(help) = help {
        assert_eq!(header, [&format!("# HELP h {help}"), "# TYPE h histogram"]);
    }
    assert_eq!(
        assembler.exposition().n_families,
        [groups.len(), groups.len(), groups.len(), n_metrics]
            .into_iter()
            .filter(|&n| n > 0)
            .count() as u64
    );
}

#[test]
fn no_message_has_native_and_classic_histograms() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let page_bytes = [100, 1000, 20_000][random.usize(..3)];
        let n_slots = [2, 5, 60][random.usize(..3)];
        let names = OWN.iter().map(|(name, _)| *name);
        let mut assembler = Assembler::new(names, PageSizes { page_bytes }, 1);
        let rendezvous = Rendezvous::new();
        let formats = [Format::PLAIN, Format::Protobuf(Escaping::Underscores)];
        for format in formats {
            rendezvous.request_format(format, false, 1);
        }
        let wanted = rendezvous.wanted(1);
        let mut versions = 0;
        let mut last: BTreeMap<u32, MarkedSlot> = BTreeMap::new();
        let mut groups: BTreeMap<u32, Push> = BTreeMap::new();
        for _ in 0..30 {
            let mut taken = Vec::new();
            for _ in 0..random.u32(0..n_slots) {
                let slot = random.u32(..n_slots);
                versions += 1;
                if random.u8(..3) == 0 {
                    if let (Some(of), Some(_)) = (last.remove(&slot), groups.remove(&slot)) {
                        taken.push(Snapshots::default().deleted(&of));
                    }
                    continue;
                }
                let push = Push::random(&mut random);
                let layout = push.layout(slot);
                let values = vec![0; layout.skeleton().n_values()];
                let snapshot = Arc::new(Snapshot::for_test(versions, key(slot), layout, values, 1));
                groups.insert(slot, push);
                let of_last = Arc::clone(&snapshot);
                taken.push(MarkedSlot { slot, snapshot });
                let snapshot = of_last;
                last.insert(slot, MarkedSlot { slot, snapshot });
            }
            assembler.update_pages(taken, &wanted, |_| ());
            assembler.update_segments(Effort::Fast);
            check(&assembler, &groups);
        }
    }
}
