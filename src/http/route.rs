//! What a request asks for.

use super::group_path::GroupPath;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Scrape,
    /// PUT and POST, with the group's path.
    Push(GroupPath<'a>),
    Delete(GroupPath<'a>),
    Healthy,
    Ready,
    Quit,
    Status,
    Static,
    /// Below the API; the path behind `/api/v1`.
    Api(ApiRoute),
}

/// What a request to the API asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiRoute {
    Status,
    /// All groups, or those of a job, or of a job and instance.
    Metrics(Option<String>, Option<String>),
    Wipe,
    /// OPTIONS of any path.
    Options,
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    NotFound,
    /// The methods there are, as in `Allow`.
    MethodNotAllowed(&'static str),
    /// OPTIONS of a route: the methods there are.
    Allow(&'static str),
    Redirect {
        permanent: bool,
        location: String,
    },
    /// The path is not percent-encoded properly.
    BadRequest,
}

/// What stays as it is in the path of a `Location`.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

pub(super) fn redirect(permanent: bool, path: &[u8], query: Option<&str>) -> NoRoute {
    let mut location = percent_encode(path, KEPT).to_string();
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    NoRoute::Redirect {
        permanent,
        location,
    }
}
