//! What a client sees: routes, bodies, status codes.
//!
//! Every request goes `server` → `router` → one of `push`, `scrape`, `api_v1`, `admin`. Status
//! codes are chosen here alone.

mod admin;
mod answer;
mod api_v1;
mod body;
mod cadence;
mod fast_path;
mod gateway;
mod lingering;
mod negotiation;
mod parse_pool;
mod push;
mod request_body;
mod router;
mod scrape;
mod server;
mod service;

pub use body::Body;
pub use gateway::{Gateway, Options};
pub use router::Routes;
pub use server::{Listeners, Server};
