//! What a round publishes and scrapes send.

use super::format::Format;
use super::segment::Stretch;
use std::sync::Arc;

/// All groups at one moment, in every format that is asked for.
#[derive(Debug, Default)]
pub struct Exposition {
    pub(super) views: Vec<ViewPages>,
    /// How many groups are exposed.
    pub n_groups: u64,
    /// How many samples they have, the push times included.
    pub n_samples: u64,
    /// How many families, the push times included and the gateway's own not.
    pub n_families: u64,
}

/// One format of an exposition.
#[derive(Debug)]
pub(super) struct ViewPages {
    pub format: Format,
    pub gzip: bool,
    pub stretches: Box<[Arc<Stretch>]>,
}

impl Exposition {
    /// Bytes of the pushed families in a format, where it is kept.
    pub fn len_of(&self, format: Format) -> Option<u64> {
        let view = self.views.iter().find(|view| view.format == format)?;
        Some(view.stretches.iter().map(|stretch| stretch.len).sum())
    }

    /// Bytes of the pushed families in the text format, as somebody asks for it.
    pub fn text_len(&self) -> Option<u64> {
        let view = self
            .views
            .iter()
            .find(|view| matches!(view.format, Format::Text(_)))?;
        self.len_of(view.format)
    }

    pub(super) fn view(&self, format: Format, gzip: bool) -> Option<&ViewPages> {
        self.views
            .iter()
            .find(|view| view.format == format && (view.gzip || !gzip))
    }
}
