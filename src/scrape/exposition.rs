//! An exposition is what a round publishes: the state of all groups at one moment, in every format
//! that is wanted. Scrapes send it as a [`Document`](super::Document).

use super::format::Format;
use super::segment::Stretch;
use std::sync::Arc;

/// The state of all groups at one moment, in every format that is wanted.
#[derive(Debug, Default)]
pub struct Exposition {
    pub(super) views: Vec<ViewPages>,
    /// How many groups are exposed.
    pub n_groups: u64,
    /// How many lines of the text format these groups have, with their push times.
    pub n_samples: u64,
    /// How many families are exposed, with the two push times, without the gateway's own.
    pub n_families: u64,
}

/// The pages of one format.
#[derive(Debug)]
pub(super) struct ViewPages {
    pub format: Format,
    /// Whether the pages are compressed as well.
    pub gzip: bool,
    /// One more than the gateway has own families; see [`super::view`].
    pub stretches: Box<[Arc<Stretch>]>,
}

impl Exposition {
    /// Bytes of the pushed families in a format, not compressed; none if the format is not kept.
    pub fn len_of(&self, format: Format) -> Option<u64> {
        let view = self.views.iter().find(|view| view.format == format)?;
        Some(view.stretches.iter().map(|stretch| stretch.len).sum())
    }

    /// Bytes of the pushed families in the text format, not compressed: under the first escaping
    /// scheme that is kept; none if no text format is kept.
    pub fn text_len(&self) -> Option<u64> {
        let view = self
            .views
            .iter()
            .find(|view| matches!(view.format, Format::Text(_)))?;
        self.len_of(view.format)
    }

    /// The pages of a format; none if the format is not kept, or not compressed where `gzip` is
    /// asked for.
    pub(super) fn view(&self, format: Format, gzip: bool) -> Option<&ViewPages> {
        self.views
            .iter()
            .find(|view| view.format == format && (view.gzip || !gzip))
    }
}
