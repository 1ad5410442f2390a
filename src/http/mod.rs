//! What a client sees: paths, headers, bodies, status codes. No other module chooses status codes.
//!
//! A request goes this way:
//!
//! ```text
//! listeners → server → connection → fast_path → router → push ─────────────────────────→ gateway
//!                                 ↘ dispatch  → router → push, scrape, api_v1, admin, ui → gateway
//!                                   (hyper)
//! ```
//!
//! | file                                   | what it does                                      |
//! |----------------------------------------|---------------------------------------------------|
//! | `listeners.rs`, `server.rs`            | sockets; accepting connections, and draining them |
//! | `accept_back_off.rs`                   | what happens while nothing can be accepted        |
//! | `connection.rs`, `closing.rs`          | one connection, and its end                       |
//! | `handed_over_stream.rs`                | a connection as hyper sees it                     |
//! | `silence.rs`                           | clients that are silent while the process ends    |
//! | `fast_path.rs`, `request_start.rs`     | usual pushes and deletes, without hyper           |
//! | `dispatch.rs`                          | any other request, read by hyper                  |
//! | `head.rs`, `head_check.rs`             | what is checked in heads: in all; behind hyper    |
//! | `request_body.rs`                      | receiving a body, and discarding one              |
//! | `router.rs`, `route.rs`                | from a method and a path to a route               |
//! | `request_path.rs`, `group_path.rs`     | percent decoding and cleaning; a group's path     |
//! | `negotiation.rs`                       | formats and encodings, by headers                 |
//! | `push.rs`, `push_request.rs`           | pushes and deletes; the answers to refused pushes |
//! | `refusal_log.rs`                       | the log lines of refused pushes                   |
//! | `import.rs`                            | groups of another gateway                         |
//! | `scrape.rs`, `api_v1.rs`, `admin.rs`   | the other handlers                                |
//! | `answer.rs`, `answer_body.rs`, `date.rs` | what is sent back                               |
//! | `front_end.rs`                         | what all connections share                        |

mod accept_back_off;
mod admin;
mod answer;
mod answer_body;
mod api_v1;
mod closing;
mod connection;
mod date;
mod dispatch;
mod fast_path;
mod front_end;
mod group_path;
mod handed_over_stream;
mod head;
mod head_check;
mod import;
mod listeners;
mod negotiation;
mod push;
mod push_request;
mod refusal_log;
mod request_body;
mod request_path;
mod request_start;
mod route;
mod router;
mod scrape;
mod server;
mod silence;

pub use front_end::HttpOptions;
pub use listeners::Listeners;
pub use router::Routes;
pub use server::Server;
