//! What a client sees: routes, bodies, status codes.
//!
//! Every request goes `server` → `router` → one of `push`, `scrape`, `api_v1`, `admin`. Status
//! codes are chosen here alone.

mod admin;
mod answer;
mod api_v1;
mod body;
mod closing;
mod connection;
mod date;
mod dispatch;
mod fast_path;
mod gateway;
mod group_path;
mod head;
mod listeners;
mod negotiation;
mod push;
mod request_body;
mod request_path;
mod request_start;
mod route;
mod router;
mod scrape;
mod server;

pub use body::Body;
pub use gateway::{Gateway, Options};
pub use listeners::Listeners;
pub use router::Routes;
pub use server::Server;
