//! Tests of segments: which are kept, how long they are, and what their compressed form holds.

use super::*;
use crate::scrape::testing::gunzip;

const SIZES: PageSizes = PageSizes { page_bytes: 10 };

/// Pages with these texts that no segment holds yet.
fn pages(texts: impl IntoIterator<Item = String>) -> Vec<Page> {
    texts
        .into_iter()
        .map(|text| Page::header(text.as_bytes()))
        .collect()
}

/// The stretch with these pages that follows `stretch`.
fn next(stretch: &Stretch, pages: &mut [Page], effort: Option<Effort>) -> Stretch {
    let planned = stretch.plan_segments(pages.iter_mut(), SIZES, effort.is_some());
    let mut made = Stretch::make_all(vec![(planned, 0)], effort, &Builders::new(1));
    made.pop().expect("one stretch was planned")
}

/// What the compressed form decompresses to. Checks the CRC, too.
fn decompressed(stretch: &Stretch) -> Vec<u8> {
    let mut member = gzip::HEADER.to_vec();
    for segment in &stretch.segments {
        member.extend_from_slice(&segment.deflated.as_ref().expect("it is compressed").bytes);
    }
    member.extend_from_slice(&stretch.crc.trailer());
    gunzip(&member)
}

fn plain(stretch: &Stretch) -> Vec<u8> {
    let texts = stretch.segments.iter().flat_map(|segment| &segment.texts);
    texts.flat_map(|text| text.iter().copied()).collect()
}

fn text_of(pages: &[Page]) -> Vec<u8> {
    let texts = pages.iter().map(Page::text);
    texts.flat_map(|text| text.iter().copied()).collect()
}

/// Asserts the sizes that segments have once they are made.
fn assert_sizes(stretch: &Stretch) {
    let full = SIZES.segment_bytes() as u64;
    let (_, all_but_last) = stretch.segments.split_last().expect("there are pages");
    for segment in all_but_last {
        assert!(segment.len >= full / 2, "{} bytes", segment.len);
    }
    for segment in &stretch.segments {
        let last_page = segment.texts.last().expect("segments have pages").len() as u64;
        assert!(segment.len - last_page < full, "{} bytes", segment.len);
    }
}

#[test]
fn a_segment_without_changed_pages_is_kept() {
    let mut all = pages((0..1000).map(|i| format!("page {i:04}\n")));
    let first = next(&Stretch::default(), &mut all, Some(Effort::Usual));
    assert!(first.segments.len() > 5);
    let n_of_first = first.segments[0].texts.len();
    all[n_of_first + 3] = Page::header(b"new\n");
    let second = next(&first, &mut all, Some(Effort::Usual));
    let kept: Vec<bool> = first
        .segments
        .iter()
        .map(|old| second.segments.iter().any(|new| Arc::ptr_eq(old, new)))
        .collect();
    let mut expected = vec![true; first.segments.len()];
    expected[1] = false;
    assert_eq!(kept, expected);
    assert_eq!(plain(&second), text_of(&all));
}

/// Of a segment that is made anew, the compressed forms of unchanged pages are copied.
#[test]
fn only_changed_pages_are_compressed() {
    let mut all = pages((0..300).map(|i| format!("page {i:04}\n")));
    let first = next(&Stretch::default(), &mut all, Some(Effort::Usual));
    assert_eq!(first.n_fast_pages, 0);
    for index in [3, 4, 200] {
        all[index] = Page::header(format!("new {index}\n").as_bytes());
    }
    let second = next(&first, &mut all, Some(Effort::Fast));
    assert_eq!(second.n_fast_pages, 3);
    assert_eq!(decompressed(&second), text_of(&all));
}

#[test]
fn recompressing_changes_no_text_and_leaves_no_fast_page() {
    let mut all = pages((0..500).map(|i| format!("page {i:04}\n")));
    let builders = Builders::new(1);
    let mut stretch = next(&Stretch::default(), &mut all, Some(Effort::Fast));
    assert_eq!(stretch.n_fast_pages, 500);
    let mut n_steps = 0;
    while stretch.n_fast_pages > 0 {
        let before = stretch.n_fast_pages;
        stretch = stretch.recompressed(100, &builders);
        // Whole segments, so a few pages more than asked for.
        let n_done = before - stretch.n_fast_pages;
        assert!(stretch.n_fast_pages == 0 || (100..210).contains(&n_done));
        assert_eq!(decompressed(&stretch), text_of(&all));
        n_steps += 1;
    }
    assert!(n_steps > 1);
}

/// Random changes: pages are replaced, removed and added, and compression is switched on and off.
#[test]
fn crc_and_compressed_form_are_those_of_the_text_after_every_change() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut all = pages((0..random.usize(1..2000)).map(|i| format!("{i:0<9}\n")));
        let mut stretch = next(&Stretch::default(), &mut all, Some(Effort::Usual));
        for round in 0..10 {
            for _ in 0..random.usize(1..30) {
                let text = format!("{}\n", "x".repeat(random.usize(0..20)));
                let index = random.usize(..all.len());
                match random.u8(..3) {
                    0 => all[index] = Page::header(text.as_bytes()),
                    1 => all.insert(index, Page::header(text.as_bytes())),
                    _ if all.len() > 1 => drop(all.remove(index)),
                    _ => {}
                }
            }
            let efforts = [None, Some(Effort::Fast), Some(Effort::Usual)];
            let effort = efforts[random.usize(..3)];
            stretch = next(&stretch, &mut all, effort);
            let text = text_of(&all);
            assert!(plain(&stretch) == text, "seed {seed}, round {round}");
            assert_eq!(stretch.len, text.len() as u64);
            assert_sizes(&stretch);
            if effort.is_some() {
                assert_eq!(stretch.crc, Crc::of(&text), "seed {seed}, round {round}");
                assert!(decompressed(&stretch) == text, "seed {seed}, round {round}");
            } else {
                assert_eq!(stretch.deflated_len, 0);
            }
        }
    }
}
