//! Who looks at what has changed.

/// Who looks at what has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The one that makes expositions.
    Assembler,
}
