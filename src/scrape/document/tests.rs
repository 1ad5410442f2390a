//! Tests of documents: what lies between the stretches, and that all ways to read agree.

use super::*;
use crate::exposition::protobuf;
use crate::model::{FamiliesBuilder, MetricFlags};
use crate::scrape::builders::Builders;
use crate::scrape::gzip::Effort;
use crate::scrape::page::Page;
use crate::scrape::segment::Stretch;
use crate::scrape::sizes::PageSizes;
use crate::scrape::testing::gunzip;

const OWN: &[(&str, MetricType)] = &[
    ("b_own", MetricType::Gauge),
    ("c_own", MetricType::Gauge),
    ("x_own", MetricType::Counter),
];

/// A stretch with these pages, compressed. The first `own_family_len` bytes belong to the own
/// family in front of it.
fn stretch(pages: &[&str], own_family_len: u64) -> Arc<Stretch> {
    let mut pages: Vec<Page> = pages.iter().map(|p| Page::header(p.as_bytes())).collect();
    let sizes = PageSizes { page_bytes: 1 };
    let planned = Stretch::default().plan_segments(pages.iter_mut(), sizes, true);
    let planned = vec![(planned, own_family_len)];
    let mut made = Stretch::make_all(planned, Some(Effort::Usual), &Builders::new(1));
    Arc::new(made.pop().expect("one was planned"))
}

fn exposition(format: Format, gzip: bool, stretches: Vec<Arc<Stretch>>) -> Arc<Exposition> {
    let views = vec![ViewPages {
        format,
        gzip,
        stretches: stretches.into(),
    }];
    Arc::new(Exposition {
        views,
        ..Exposition::default()
    })
}

/// Own families with these names, each with the value 7.
fn own(names: &[&str]) -> Families {
    let mut builder = FamiliesBuilder::new();
    for name in names {
        let family = OWN.iter().find(|(own, _)| own == name).expect("own");
        builder.family(name, family.1, Some("own"));
        builder.value(7f64.to_bits());
        builder.end_metric(MetricFlags::default());
    }
    builder.finish().unwrap()
}

fn read(mut document: Document) -> Vec<u8> {
    document.copy_to_bytes(document.remaining()).to_vec()
}

/// Stretches with one page, with many, and empty ones at every place.
fn some_stretches() -> Vec<Vec<Arc<Stretch>>> {
    let many: Vec<String> = (0..500).map(|i| format!("a {i}\n")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let empty = || stretch(&[], 0);
    let (one, many) = (|| stretch(&["b 1\n"], 0), || stretch(&many, 0));
    vec![
        vec![empty(), empty(), empty(), empty()],
        vec![one(), many(), one(), many()],
        vec![empty(), one(), empty(), many()],
        vec![many(), empty(), empty(), empty()],
        vec![one(), empty(), many(), empty()],
    ]
}

#[test]
fn own_families_stand_between_the_stretches() {
    let stretches = ["a 1\n", "b_own{job=\"j\"} 2\nc 1\n", "", "z 1\n"];
    let stretches = stretches.map(|text| stretch(&[text], 17 * u64::from(text.contains('{'))));
    let exposition = exposition(Format::PLAIN, true, stretches.into());
    let check = |names: &[&str], expected: &str| {
        let own = own(names);
        let plain = Document::new(Arc::clone(&exposition), Format::PLAIN, false, &own, OWN);
        let plain = read(plain.expect("kept"));
        assert_eq!(String::from_utf8(plain).unwrap(), expected);
    };
    check(
        &["b_own", "x_own"],
        "a 1\n# HELP b_own own\n# TYPE b_own gauge\nb_own 7\nb_own{job=\"j\"} 2\nc 1\n\
         # HELP x_own own\n# TYPE x_own counter\nx_own 7\nz 1\n",
    );
    // Without own metrics there is a header only where pushed metrics of the family follow.
    check(
        &["c_own"],
        "a 1\n# TYPE b_own gauge\nb_own{job=\"j\"} 2\nc 1\n\
         # HELP c_own own\n# TYPE c_own gauge\nc_own 7\nz 1\n",
    );
}

#[test]
fn a_compressed_document_decompresses_to_the_plain_one() {
    for (i, stretches) in some_stretches().into_iter().enumerate() {
        let exposition = exposition(Format::PLAIN, true, stretches);
        for names in [&[][..], &["b_own"], &["b_own", "c_own", "x_own"]] {
            let document = |gzip| {
                let exposition = Arc::clone(&exposition);
                let document = Document::new(exposition, Format::PLAIN, gzip, &own(names), OWN);
                read(document.expect("the format is kept"))
            };
            let (plain, compressed) = (document(false), document(true));
            assert!(gunzip(&compressed) == plain, "stretches {i}, own {names:?}");
            // The CRC that was joined from those of the parts, and the length behind it.
            let trailer = &compressed[compressed.len() - gzip::TRAILER_LEN..];
            assert_eq!(trailer, Crc::of(&plain).trailer());
        }
    }
}

/// In the protobuf format a header holds the length of all metrics of its family.
#[test]
fn an_own_family_of_protobuf_counts_the_pushed_metrics_behind_it() {
    let format = Format::Protobuf(Default::default());
    let pushed = own(&["b_own"]);
    let mut metrics = Vec::new();
    format
        .template(pushed.skeleton.family(0), FamilyPart::Main, &["job"], true)
        .render(
            &format.render_key(&LabelSet::new([("job", "j")])),
            &pushed.values,
            &[],
            0,
            &mut metrics,
        );
    let mut page = [Page::header(&metrics)];
    let planned =
        Stretch::default().plan_segments(page.iter_mut(), PageSizes { page_bytes: 1 }, false);
    let planned = vec![(planned, metrics.len() as u64)];
    let mut made = Stretch::make_all(planned, None, &Builders::new(1));
    let empty = || stretch(&[], 0);
    let stretches = vec![empty(), Arc::new(made.pop().unwrap()), empty(), empty()];
    let exposition = exposition(format, false, stretches);
    let document = Document::new(exposition, format, false, &own(&["b_own"]), OWN);
    let families = protobuf::parse(&read(document.expect("kept"))).expect("valid messages");
    let family = families.skeleton.family(0);
    assert_eq!((family.name(), family.metrics().len()), ("b_own", 2));
}

/// However a server reads: by slices, by many slices at once, in steps that end anywhere.
#[test]
fn slices_and_steps_give_the_same_bytes() {
    for stretches in some_stretches() {
        let exposition = exposition(Format::PLAIN, true, stretches);
        for gzip in [false, true] {
            let document = || {
                let exposition = Arc::clone(&exposition);
                Document::new(exposition, Format::PLAIN, gzip, &own(&["c_own"]), OWN).unwrap()
            };
            let whole = read(document());
            let all = document();
            let mut slices = vec![IoSlice::new(&[]); 2000];
            let n = all.chunks_vectored(&mut slices);
            let joined: Vec<u8> = slices[..n].iter().flat_map(|s| s.iter().copied()).collect();
            assert!(joined == whole && n < 2000);
            let mut random = fastrand::Rng::with_seed(7);
            let mut steps = document();
            let mut n_read = 0;
            while steps.has_remaining() {
                assert!(whole[n_read..].starts_with(steps.chunk()) && !steps.chunk().is_empty());
                let step = random.usize(1..=50.min(steps.remaining()));
                steps.advance(step);
                n_read += step;
            }
            assert_eq!((n_read, steps.chunk()), (whole.len(), &[][..]));
        }
    }
}

#[test]
fn there_is_no_document_of_what_is_not_kept() {
    let new = |format, gzip| {
        let stretches = some_stretches().remove(1);
        let exposition = exposition(Format::PLAIN, false, stretches);
        Document::new(exposition, format, gzip, &own(&[]), OWN).is_some()
    };
    assert!(new(Format::PLAIN, false));
    assert!(!new(Format::PLAIN, true));
    assert!(!new(Format::Protobuf(Default::default()), false));
}
