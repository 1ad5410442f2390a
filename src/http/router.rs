//! From a method and a path to a route, with the reference's redirects and no others.
//!
//! There are two layers, as in the reference. First a path with `//`, `.` or `..` in it is
//! redirected (301) to the clean path. Then the route is looked up; a path that differs from a
//! route's only by the slash at its end or by the case of its letters is redirected to that (301
//! for GET, 307 for other methods). Some clients take a redirect for success, so a push that the
//! reference stores as it was sent is never redirected here.
//!
//! A path is percent-decoded once, before anything else, so an encoded slash separates components.
//! Only the paths of the groups of a job (`/api/v1/metrics/{job}`), which the reference does not
//! have, are taken apart first ([`ApiRoute::find_groups_of_job`]).

use super::group_path::GroupPath;
use super::request_path::{clean, percent_decode};
use super::route::{ApiRoute, GET, GROUP, NoRoute, QUIT, QUIT_BELOW_PREFIX, Route, allows};
use crate::telemetry::Method;
use std::borrow::Cow;

/// The paths of the gateway's pages.
#[derive(Clone, Debug)]
pub struct Routes {
    prefix: String,
    telemetry: String,
    has_admin: bool,
}

/// A page with a fixed path: the path, the route, and the methods there are.
type FixedPage = (Cow<'static, str>, Route<'static>, &'static str);

/// The beginning of a group's path.
struct GroupStart {
    /// The text in front of the job, without the prefix of all paths.
    fixed: &'static str,
    /// Where the job begins.
    job_start: usize,
    job_is_base64: bool,
}

impl Routes {
    /// Routes below `prefix` (empty, or such as `/pg`), and the path of scrapes below that.
    ///
    /// ```
    /// use pushgateway::http::Routes;
    /// assert!(!Routes::new("/pg", "/metrics").is_telemetry_path_taken());
    /// assert!(Routes::new("/pg", "/status").is_telemetry_path_taken());
    /// ```
    pub fn new(prefix: &str, telemetry_path: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let telemetry = format!("{prefix}/{}", telemetry_path.trim_matches('/'));
        Self {
            prefix,
            telemetry,
            has_admin: false,
        }
    }

    /// These routes with `/api/v1/admin/…`. Without this there is no such path for any method.
    pub fn with_admin(self) -> Self {
        Self {
            has_admin: true,
            ..self
        }
    }

    /// The path of the status page.
    pub(super) fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The path of scrapes.
    pub(super) fn telemetry_path(&self) -> &str {
        &self.telemetry
    }

    /// Whether the path of scrapes belongs to another page.
    pub fn is_telemetry_path_taken(&self) -> bool {
        let path = self.telemetry.as_bytes();
        let is_page = self
            .fixed_pages()
            .iter()
            .any(|(known, route, _)| *route != Route::Scrape && known.as_bytes() == path);
        let is_api =
            self.is_api(&self.telemetry) || self.telemetry == format!("{}/api/v1", self.prefix);
        is_page || is_api || self.is_static(path, false)
    }

    /// Whether a path is below that of the API.
    pub(super) fn is_api(&self, path: &str) -> bool {
        path.strip_prefix(&self.prefix)
            .is_some_and(|below| below.starts_with("/api/v1/"))
    }

    /// The route of a request.
    ///
    /// # Errors
    ///
    /// There is none; the error says what to answer.
    pub(super) fn find<'a>(
        &self,
        method: &str,
        path: &'a str,
        query: Option<&str>,
    ) -> Result<Route<'a>, NoRoute> {
        if path == "*" && method != "OPTIONS" {
            return Err(NoRoute::BadRequest);
        }
        let below_prefix = path.strip_prefix(&self.prefix);
        if let Some(found) =
            below_prefix.and_then(|below| ApiRoute::find_groups_of_job(method, path, below))
        {
            return found.map(Route::Api);
        }
        let path = percent_decode(path).ok_or(NoRoute::BadRequest)?;
        if method != "CONNECT" {
            let clean = clean(&path);
            if *clean != *path {
                return Err(NoRoute::redirect(true, &clean, query));
            }
        }
        if let Some(below) = path.strip_prefix(self.prefix.as_bytes())
            && let Some(below) = below.strip_prefix(b"/api/v1")
        {
            match below {
                [b'/', ..] => {
                    let found = ApiRoute::find(method, below, self.has_admin, &self.prefix);
                    return found.map(Route::Api);
                }
                [] => return Err(NoRoute::redirect(true, &[&*path, b"/"].concat(), query)),
                _ => {}
            }
        }
        let known_method = match method {
            "GET" => Some(Method::Get),
            "PUT" => Some(Method::Put),
            "POST" => Some(Method::Post),
            "DELETE" => Some(Method::Delete),
            _ => None,
        };
        if let Some(method) = known_method {
            if let Some(route) = self.find_exact(method, &path) {
                return Ok(route);
            }
            if *path != *b"/"
                && let Some(other) = self.find_nearby(method, &path)
            {
                return Err(NoRoute::redirect(method == Method::Get, &other, query));
            }
        }
        match self.methods_of(&path) {
            Some(methods) if method == "OPTIONS" => Err(NoRoute::Allow(methods)),
            Some(methods) => Err(NoRoute::MethodNotAllowed(methods)),
            None if method == "OPTIONS" && *path == *b"*" => Err(NoRoute::Allow("")),
            None => Err(NoRoute::NotFound),
        }
    }

    /// Whether the paths of the gateway's pages have a prefix.
    fn has_prefix(&self) -> bool {
        !self.prefix.is_empty()
    }

    fn fixed_pages(&self) -> [FixedPage; 7] {
        let below = |path: &str| Cow::Owned(format!("{}{path}", self.prefix));
        let quit_methods = if self.has_prefix() {
            QUIT_BELOW_PREFIX
        } else {
            QUIT
        };
        [
            (self.telemetry.clone().into(), Route::Scrape, GET),
            (below("/-/healthy"), Route::Healthy, GET),
            (below("/-/ready"), Route::Ready, GET),
            (below("/-/quit"), Route::Quit, quit_methods),
            // As on the reference, where GET is answered with 405 outside the prefix.
            ("/-/quit".into(), Route::Quit, GET),
            (below("/"), Route::Status, GET),
            (below("/status"), Route::Status, GET),
        ]
    }

    /// The route with exactly this path.
    fn find_exact<'a>(&self, method: Method, path: &Cow<'a, [u8]>) -> Option<Route<'a>> {
        // Groups first: most requests are pushes. A group may have the path of scrapes, too.
        if method != Method::Get
            && let Some(start) = self.find_group(path, false)
        {
            let group = GroupPath::new(path, start.job_start, start.job_is_base64);
            return Some(if method == Method::Delete {
                Route::Delete(group)
            } else {
                Route::Push(group)
            });
        }
        if self.is_static(path, false) && method == Method::Get {
            return Some(Route::Static);
        }
        let (_, route, methods) = self
            .fixed_pages()
            .into_iter()
            .find(|(known, ..)| *known.as_bytes() == **path)?;
        allows(methods, method).then_some(route)
    }

    /// The beginning of a group's path. With `any_case`, the letters in front of the job may be
    /// lower or upper case.
    fn find_group(&self, path: &[u8], any_case: bool) -> Option<GroupStart> {
        [("/metrics/job/", false), ("/metrics/job@base64/", true)]
            .into_iter()
            .find_map(|(fixed, job_is_base64)| {
                let job_start = self.prefix.len() + fixed.len();
                let (head, rest) = path.split_at_checked(job_start)?;
                let (prefix, below) = head.split_at(self.prefix.len());
                let is_same = |a: &[u8], b: &[u8]| {
                    if any_case {
                        a.eq_ignore_ascii_case(b)
                    } else {
                        a == b
                    }
                };
                // The job has at least one byte.
                let is_group = is_same(prefix, self.prefix.as_bytes())
                    && is_same(below, fixed.as_bytes())
                    && !rest.is_empty();
                is_group.then_some(GroupStart {
                    fixed,
                    job_start,
                    job_is_base64,
                })
            })
    }

    fn is_static(&self, path: &[u8], any_case: bool) -> bool {
        let fixed = format!("{}/static/", self.prefix);
        path.split_at_checked(fixed.len()).is_some_and(|(head, _)| {
            if any_case {
                head.eq_ignore_ascii_case(fixed.as_bytes())
            } else {
                head == fixed.as_bytes()
            }
        })
    }

    /// The methods that a path has; none if there is no such path.
    fn methods_of(&self, path: &[u8]) -> Option<&'static str> {
        if self.find_group(path, false).is_some() {
            return Some(GROUP);
        }
        if self.is_static(path, false) {
            return Some(GET);
        }
        self.fixed_pages()
            .into_iter()
            .find_map(|(known, _, methods)| (known.as_bytes() == path).then_some(methods))
    }

    /// The path of a route that differs from `path` by its last slash or by the case of letters.
    fn find_nearby(&self, method: Method, path: &[u8]) -> Option<Vec<u8>> {
        let toggled = match path.strip_suffix(b"/") {
            Some(shorter) => shorter.to_vec(),
            None => [path, b"/"].concat(),
        };
        for any_case in [false, true] {
            let is_same = |known: &str, path: &[u8]| {
                if any_case {
                    known.as_bytes().eq_ignore_ascii_case(path)
                } else {
                    known.as_bytes() == path
                }
            };
            if method != Method::Get {
                if any_case && let Some(start) = self.find_group(path, true) {
                    let (prefix, fixed) = (self.prefix.as_bytes(), start.fixed.as_bytes());
                    return Some([prefix, fixed, &path[start.job_start..]].concat());
                }
                // The reference redirects a path without a job to one that does not exist either.
                if !any_case && is_same(&format!("{}/metrics/job/", self.prefix), path) {
                    return Some(toggled);
                }
            }
            if method == Method::Get && self.is_static(&toggled, any_case) {
                return Some(format!("{}/static/", self.prefix).into_bytes());
            }
            let pages = self
                .fixed_pages()
                .into_iter()
                .filter(|(.., methods)| allows(methods, method));
            for (known, ..) in pages {
                if (any_case && is_same(&known, path)) || is_same(&known, &toggled) {
                    return Some(known.into_owned().into_bytes());
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
