//! What a request asks for, and what to answer if there is no such page.

use super::group_path::GroupPath;
use super::request_path::{clean, percent_decode};
use crate::telemetry::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// The methods of most pages, as `Allow` lists them.
pub(super) const GET: &str = "GET, OPTIONS";
/// The methods of a group.
pub(super) const GROUP: &str = "DELETE, OPTIONS, POST, PUT";
/// The methods of `/-/quit` without a route prefix. GET is answered, but only with 405.
pub(super) const QUIT: &str = "GET, OPTIONS, POST, PUT";
/// The methods of `/-/quit` below a route prefix.
pub(super) const QUIT_BELOW_PREFIX: &str = "OPTIONS, POST, PUT";
/// The methods of `/api/v1/admin/wipe`.
pub(super) const PUT: &str = "OPTIONS, PUT";
/// The methods of `/api/v1/admin/import`.
const POST: &str = "OPTIONS, POST";

/// Whether a list of methods, as `Allow` has it, holds this one.
pub(super) fn allows(methods: &str, method: Method) -> bool {
    let name = match method {
        Method::Delete => "DELETE",
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
    };
    methods.split(", ").any(|known| known == name)
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// The exposition.
    Scrape,
    /// PUT or POST of a group.
    Push(GroupPath<'a>),
    /// DELETE of a group.
    Delete(GroupPath<'a>),
    /// `/-/healthy`.
    Healthy,
    /// `/-/ready`.
    Ready,
    /// `/-/quit`.
    Quit,
    /// The status page.
    Status,
    /// A file of the reference's status page, which this gateway does not have.
    Static,
    /// A path below `/api/v1`.
    Api(ApiRoute),
}

/// What a request to the API asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ApiRoute {
    /// Build information and flags.
    Status,
    /// All groups, those of a job, or those of a job and instance.
    Metrics {
        job: Option<String>,
        instance: Option<String>,
    },
    /// Deleting all groups.
    Wipe,
    /// Groups of another gateway.
    Import,
    /// OPTIONS of any path.
    Options,
}

/// Why there is no route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// There is no such path.
    NotFound,
    /// The path has only these methods, as `Allow` lists them.
    MethodNotAllowed(&'static str),
    /// OPTIONS of a path that has these methods.
    Allow(&'static str),
    /// The route has another path.
    Redirect {
        is_permanent: bool,
        /// Percent-encoded.
        location: String,
    },
    /// The path is not percent-encoded properly.
    BadRequest,
}

/// The bytes that stay as they are in the path of a `Location`.
const LOCATION_BYTES: &AsciiSet = &NON_ALPHANUMERIC
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

impl NoRoute {
    /// A redirect to a percent-decoded path, keeping the query.
    pub fn redirect(is_permanent: bool, path: &[u8], query: Option<&str>) -> Self {
        let mut location = percent_encode(path, LOCATION_BYTES).to_string();
        if let Some(query) = query {
            location.push('?');
            location.push_str(query);
        }
        Self::Redirect {
            is_permanent,
            location,
        }
    }
}

impl ApiRoute {
    /// The route of a percent-decoded path, of which `below` follows `/api/v1`.
    pub fn find(
        method: &str,
        below: &[u8],
        has_admin: bool,
        prefix: &str,
    ) -> Result<Self, NoRoute> {
        if method == "OPTIONS" {
            return Ok(Self::Options);
        }
        let text = std::str::from_utf8(below).map_err(|_| NoRoute::NotFound)?;
        let components: Vec<&str> = text.trim_start_matches('/').split('/').collect();
        let (route, methods) = match components.as_slice() {
            ["status"] => (Self::Status, GET),
            ["metrics"] => (
                Self::Metrics {
                    job: None,
                    instance: None,
                },
                GET,
            ),
            ["admin", "wipe"] if has_admin => (Self::Wipe, PUT),
            ["admin", "import"] if has_admin => (Self::Import, POST),
            [known @ ("status" | "metrics"), ""] if method == "GET" => {
                let location = format!("{prefix}/api/v1/{known}");
                return Err(NoRoute::redirect(true, location.as_bytes(), None));
            }
            _ => return Err(NoRoute::NotFound),
        };
        if methods.split(", ").any(|known| known == method) {
            Ok(route)
        } else {
            Err(NoRoute::MethodNotAllowed(methods))
        }
    }

    /// The route to the groups of a job, whose path is taken apart before it is percent-decoded: so
    /// a component may have an encoded slash in it. `below` is the part of `path` that follows the
    /// prefix of all paths. None if the path asks for something else.
    pub fn find_groups_of_job(
        method: &str,
        path: &str,
        below: &str,
    ) -> Option<Result<Self, NoRoute>> {
        let below = below.strip_prefix("/api/v1/metrics/")?;
        if method == "OPTIONS" || below.is_empty() || *clean(path.as_bytes()) != *path.as_bytes() {
            return None;
        }
        let mut components = below.split('/');
        let (job, instance) = (components.next()?, components.next());
        if components.next().is_some() {
            return None;
        }
        if method != "GET" {
            // Pushers know the reference, where these paths do not exist.
            return Some(Err(NoRoute::NotFound));
        }
        let text = |component: &str| {
            let decoded = percent_decode(component).ok_or(NoRoute::BadRequest)?;
            // No label has a value that is not UTF-8.
            String::from_utf8(decoded.into_owned()).map_err(|_| NoRoute::NotFound)
        };
        Some(text(job).and_then(|job| {
            Ok(Self::Metrics {
                job: Some(job),
                instance: instance.map(text).transpose()?,
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::router::Routes;
    use super::*;

    fn find<'a>(method: &str, path: &'a str) -> Result<Route<'a>, NoRoute> {
        Routes::new("", "/metrics").find(method, path, None)
    }

    fn moved_to(location: &str) -> Result<Route<'static>, NoRoute> {
        Err(NoRoute::Redirect {
            is_permanent: true,
            location: location.to_owned(),
        })
    }

    #[test]
    fn groups_of_a_job_are_found_by_path_components_that_are_decoded_one_by_one() {
        let groups = |job: &str, instance: Option<&str>| {
            Ok(Route::Api(ApiRoute::Metrics {
                job: Some(job.to_owned()),
                instance: instance.map(str::to_owned),
            }))
        };
        for (path, expected) in [
            ("/api/v1/metrics/j", groups("j", None)),
            ("/api/v1/metrics/j/i", groups("j", Some("i"))),
            ("/api/v1/metrics/j/", groups("j", Some(""))),
            ("/api/v1/metrics/a%2Fb%20c", groups("a/b c", None)),
            ("/api/v1/metrics/%2e%2e/%2F", groups("..", Some("/"))),
            ("/api/v1/metrics/%ff", Err(NoRoute::NotFound)),
            ("/api/v1/metrics/%f", Err(NoRoute::BadRequest)),
            ("/api/v1/metrics/j/i/x", Err(NoRoute::NotFound)),
            ("/api/v1/metrics/", moved_to("/api/v1/metrics")),
            ("/api/v1/metrics//j", moved_to("/api/v1/metrics/j")),
            ("/api/v1/metrics/../status", moved_to("/api/v1/status")),
        ] {
            assert_eq!(find("GET", path), expected, "{path}");
        }
        for method in ["POST", "PUT", "DELETE", "HEAD"] {
            assert_eq!(find(method, "/api/v1/metrics/j"), Err(NoRoute::NotFound));
        }
        assert_eq!(
            find("OPTIONS", "/api/v1/metrics/j"),
            Ok(Route::Api(ApiRoute::Options))
        );
        assert_eq!(
            Routes::new("/pg", "/metrics").find("GET", "/pg/api/v1/metrics/j", None),
            groups("j", None)
        );
    }
}
