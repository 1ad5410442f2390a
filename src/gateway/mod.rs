//! The gateway without HTTP: what stands between a request's bytes and the store.

pub(crate) mod body_pieces;
pub(crate) mod cadence;
pub(crate) mod decode;
pub(crate) mod parse_pool;
