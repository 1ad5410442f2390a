//! Paths to routes, with the reference's redirects and no others.
//!
//! Two layers, as there: first a path with `//`, `.` or `..` in it is redirected (301) to the clean
//! one; then the routes are looked up. A path that only differs by a slash at its end or by the
//! case of its letters is redirected (301 for GET, 307 else). Some clients take a redirect for
//! success, so a push that the reference stores as it was sent is never redirected here.
//!
//! Paths are percent-decoded once, before anything else, so an encoded slash separates components;
//! but for the groups of a job (`/api/v1/metrics/{job}`), which the reference does not have.

use super::group_path::GroupAt;
use super::request_path::{clean, decode};
use super::route::{ApiRoute, NoRoute, Route, redirect};
use crate::telemetry::Method;
use std::borrow::Cow;

/// Where the gateway's pages are.
#[derive(Clone, Debug)]
pub struct Routes {
    prefix: String,
    telemetry: String,
    has_admin: bool,
}

const GET: &str = "GET, OPTIONS";
const GROUP: &str = "DELETE, OPTIONS, POST, PUT";
const QUIT: &str = "GET, OPTIONS, POST, PUT";
const PUT: &str = "OPTIONS, PUT";

impl Routes {
    /// Routes below `prefix` (empty, or `/pg`), with scrapes at `telemetry_path` below that.
    pub fn new(prefix: &str, telemetry_path: &str) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let telemetry = format!("{prefix}/{}", telemetry_path.trim_matches('/'));
        Self {
            prefix,
            telemetry,
            has_admin: false,
        }
    }

    /// The same with `/api/v1/admin/…`, which is not there otherwise, for no method.
    pub fn with_admin(self) -> Self {
        Self {
            has_admin: true,
            ..self
        }
    }

    /// The path of the status page.
    pub fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The path that is scraped.
    pub fn telemetry_path(&self) -> &str {
        &self.telemetry
    }

    /// Whether the path that is scraped is that of another page.
    pub fn is_telemetry_taken(&self) -> bool {
        let path = self.telemetry.as_bytes();
        let is_page = self
            .fixed()
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

    pub(super) fn find<'a>(
        &self,
        method: &str,
        path: &'a str,
        query: Option<&str>,
    ) -> Result<Route<'a>, NoRoute> {
        if path == "*" && method != "OPTIONS" {
            return Err(NoRoute::BadRequest);
        }
        if let Some(route) = self.find_groups(method, path) {
            return route;
        }
        let path = decode(path).ok_or(NoRoute::BadRequest)?;
        if method != "CONNECT" {
            let clean = clean(&path);
            if *clean != *path {
                return Err(redirect(true, &clean, query));
            }
        }
        if let Some(below) = path.strip_prefix(self.prefix.as_bytes())
            && let Some(below) = below.strip_prefix(b"/api/v1")
        {
            match below {
                [b'/', ..] => return self.find_api(method, below).map(Route::Api),
                [] => return Err(redirect(true, &[&*path, b"/"].concat(), query)),
                _ => {}
            }
        }
        let method_known = match method {
            "GET" => Some(Method::Get),
            "PUT" => Some(Method::Put),
            "POST" => Some(Method::Post),
            "DELETE" => Some(Method::Delete),
            _ => None,
        };
        if let Some(method) = method_known {
            if let Some(route) = self.exact(method, &path) {
                return Ok(route);
            }
            if *path != *b"/"
                && let Some(other) = self.nearly(method, &path)
            {
                return Err(redirect(method == Method::Get, &other, query));
            }
        }
        match self.methods_of(&path) {
            Some(methods) if method == "OPTIONS" => Err(NoRoute::Allow(methods)),
            Some(methods) => Err(NoRoute::MethodNotAllowed(methods)),
            None if method == "OPTIONS" && *path == *b"*" => Err(NoRoute::Allow("")),
            None => Err(NoRoute::NotFound),
        }
    }

    fn fixed(&self) -> [(String, Route<'static>, &'static str); 6] {
        let below = |path: &str| format!("{}{path}", self.prefix);
        [
            (self.telemetry.clone(), Route::Scrape, GET),
            (below("/-/healthy"), Route::Healthy, GET),
            (below("/-/ready"), Route::Ready, GET),
            (below("/-/quit"), Route::Quit, QUIT),
            (below("/"), Route::Status, GET),
            (below("/status"), Route::Status, GET),
        ]
    }

    fn exact<'a>(&self, method: Method, path: &Cow<'a, [u8]>) -> Option<Route<'a>> {
        // Pushes first: there are most of them. What is scraped may have such a path, too.
        if method != Method::Get
            && let Some(at) = self.group_at(path, false)
        {
            let group = at.group(path);
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
            .fixed()
            .into_iter()
            .find(|(known, ..)| *known.as_bytes() == **path)?;
        allows(methods, method).then_some(route)
    }

    /// Finds a group's path; `any_case`: of the fixed part.
    fn group_at(&self, path: &[u8], any_case: bool) -> Option<GroupAt> {
        [("/metrics/job/", false), ("/metrics/job@base64/", true)]
            .into_iter()
            .find_map(|(fixed, is_base64)| {
                let job = self.prefix.len() + fixed.len();
                let (head, rest) = path.split_at_checked(job)?;
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
                is_group.then_some(GroupAt {
                    job,
                    fixed,
                    is_base64,
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

    fn methods_of(&self, path: &[u8]) -> Option<&'static str> {
        if self.group_at(path, false).is_some() {
            return Some(GROUP);
        }
        if self.is_static(path, false) {
            return Some(GET);
        }
        self.fixed()
            .into_iter()
            .find_map(|(known, _, methods)| (known.as_bytes() == path).then_some(methods))
    }

    /// The path of a route that differs from `path` by its last slash or by case.
    fn nearly(&self, method: Method, path: &[u8]) -> Option<Vec<u8>> {
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
                if any_case && let Some(at) = self.group_at(path, true) {
                    return Some(
                        [self.prefix.as_bytes(), at.fixed.as_bytes(), &path[at.job..]].concat(),
                    );
                }
                // A path without a job is sent where there is nothing either, as by the reference.
                if !any_case && is_same(&format!("{}/metrics/job/", self.prefix), path) {
                    return Some(toggled);
                }
            }
            if method == Method::Get && self.is_static(&toggled, any_case) {
                return Some(format!("{}/static/", self.prefix).into_bytes());
            }
            let fixed = self
                .fixed()
                .into_iter()
                .filter(|(.., methods)| allows(methods, method));
            for (known, ..) in fixed {
                if (any_case && is_same(&known, path)) || is_same(&known, &toggled) {
                    return Some(known.into_bytes());
                }
            }
        }
        None
    }

    /// The groups of a job: there a component may have an encoded slash in it. None if the path
    /// asks for something else.
    fn find_groups<'a>(&self, method: &str, path: &str) -> Option<Result<Route<'a>, NoRoute>> {
        let below = path
            .strip_prefix(&self.prefix)?
            .strip_prefix("/api/v1/metrics/")?;
        if method == "OPTIONS" || below.is_empty() || *clean(path.as_bytes()) != *path.as_bytes() {
            return None;
        }
        let mut components = below.split('/');
        let (job, instance) = (components.next()?, components.next());
        if components.next().is_some() {
            return None;
        }
        if method != "GET" {
            // As where these paths do not exist, which is what pushers know.
            return Some(Err(NoRoute::NotFound));
        }
        let text = |component: &str| {
            let decoded = decode(component).ok_or(NoRoute::BadRequest)?;
            // No label has a value that is not UTF-8.
            String::from_utf8(decoded.into_owned()).map_err(|_| NoRoute::NotFound)
        };
        let found = text(job).and_then(|job| {
            Ok(ApiRoute::Metrics(
                Some(job),
                instance.map(text).transpose()?,
            ))
        });
        Some(found.map(Route::Api))
    }

    fn find_api(&self, method: &str, below: &[u8]) -> Result<ApiRoute, NoRoute> {
        if method == "OPTIONS" {
            return Ok(ApiRoute::Options);
        }
        let text = std::str::from_utf8(below).map_err(|_| NoRoute::NotFound)?;
        let components: Vec<&str> = text.trim_start_matches('/').split('/').collect();
        let (route, methods) = match components.as_slice() {
            ["status"] => (ApiRoute::Status, GET),
            ["metrics"] => (ApiRoute::Metrics(None, None), GET),
            ["admin", "wipe"] if self.has_admin => (ApiRoute::Wipe, PUT),
            [known @ ("status" | "metrics"), ""] if method == "GET" => {
                let location = format!("{}/api/v1/{known}", self.prefix);
                return Err(redirect(true, location.as_bytes(), None));
            }
            _ => return Err(NoRoute::NotFound),
        };
        if methods.split(", ").any(|known| known == method) {
            Ok(route)
        } else {
            Err(NoRoute::MethodNotAllowed(methods))
        }
    }
}

fn allows(methods: &str, method: Method) -> bool {
    let name = match method {
        Method::Delete => "DELETE",
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
    };
    methods.split(", ").any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::super::group_path::GroupPath;
    use super::*;

    fn find<'a>(method: &str, path: &'a str) -> Result<Route<'a>, NoRoute> {
        Routes::new("", "/metrics").find(method, path, None)
    }

    fn group<'a>(job: &'a str, labels: &'a str) -> GroupPath<'a> {
        GroupPath {
            job: job.as_bytes().into(),
            job_is_base64: false,
            labels: labels.as_bytes().into(),
        }
    }

    fn to(permanent: bool, location: &str) -> Result<Route<'static>, NoRoute> {
        Err(NoRoute::Redirect {
            permanent,
            location: location.to_owned(),
        })
    }

    #[test]
    fn groups_are_found_by_their_decoded_path() {
        assert_eq!(
            find("PUT", "/metrics/job/a"),
            Ok(Route::Push(group("a", "")))
        );
        assert_eq!(
            find("POST", "/metrics/job/a/"),
            Ok(Route::Push(group("a", "/")))
        );
        assert_eq!(
            find("DELETE", "/metrics/job/a%2Fb/c+d%20e"),
            Ok(Route::Delete(group("a", "/b/c+d e")))
        );
        assert_eq!(
            find("PUT", "/metrics/job@base64/YQ/l/v"),
            Ok(Route::Push(GroupPath {
                job: b"YQ".into(),
                job_is_base64: true,
                labels: b"/l/v".into()
            }))
        );
        for bad in ["/metrics/job/a%2", "/metrics/job/a%zz"] {
            assert_eq!(find("PUT", bad), Err(NoRoute::BadRequest));
        }
    }

    #[test]
    fn other_paths_and_methods_are_answered_as_by_the_reference() {
        assert_eq!(find("GET", "/metrics"), Ok(Route::Scrape));
        assert_eq!(find("GET", "/"), Ok(Route::Status));
        assert_eq!(find("PUT", "/api/v1/admin/wipe"), Err(NoRoute::NotFound));
        assert_eq!(find("GET", "/api/v1/admin/wipe"), Err(NoRoute::NotFound));
        let with_admin = Routes::new("", "/metrics").with_admin();
        assert_eq!(
            with_admin.find("PUT", "/api/v1/admin/wipe", None),
            Ok(Route::Api(ApiRoute::Wipe))
        );
        assert_eq!(
            with_admin.find("GET", "/api/v1/admin/wipe", None),
            Err(NoRoute::MethodNotAllowed(PUT))
        );
        assert_eq!(find("PUT", "/metrics"), Err(NoRoute::MethodNotAllowed(GET)));
        assert_eq!(
            find("PATCH", "/metrics/job/a"),
            Err(NoRoute::MethodNotAllowed(GROUP))
        );
        assert_eq!(
            find("GET", "/metrics/job/a"),
            Err(NoRoute::MethodNotAllowed(GROUP))
        );
        assert_eq!(
            find("OPTIONS", "/metrics/job/a"),
            Err(NoRoute::Allow(GROUP))
        );
        assert_eq!(
            find("HEAD", "/-/quit"),
            Err(NoRoute::MethodNotAllowed(QUIT))
        );
        assert_eq!(
            find("DELETE", "/api/v1/status"),
            Err(NoRoute::MethodNotAllowed(GET))
        );
        for missing in [
            "/metrics/jobs/a",
            "/metrics/job",
            "/metrics/job@base64",
            "/api/v1/nope",
            "/nope",
        ] {
            assert_eq!(find("PUT", missing), Err(NoRoute::NotFound), "{missing}");
        }
    }

    #[test]
    fn groups_of_a_job_are_found_by_components_that_are_decoded_one_by_one() {
        let groups = |job: &str, instance: Option<&str>| {
            Ok(Route::Api(ApiRoute::Metrics(
                Some(job.to_owned()),
                instance.map(str::to_owned),
            )))
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
            ("/api/v1/metrics/", to(true, "/api/v1/metrics")),
            ("/api/v1/metrics//j", to(true, "/api/v1/metrics/j")),
            ("/api/v1/metrics/../status", to(true, "/api/v1/status")),
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

    #[test]
    fn paths_are_cleaned_by_a_redirect() {
        for (path, clean) in [
            ("/metrics/job/a//b", "/metrics/job/a/b"),
            ("/metrics/job/a//", "/metrics/job/a/"),
            ("/metrics/job/a%20b//c/d", "/metrics/job/a%20b/c/d"),
            ("/metrics/job/a/../b", "/metrics/job/b"),
            ("/metrics/job/a/l/..", "/metrics/job/a"),
            ("/metrics/job/a/l/%2E", "/metrics/job/a/l"),
            ("/metrics/job/..", "/metrics"),
            ("//", "/"),
            ("/..", "/"),
        ] {
            assert_eq!(find("PUT", path), to(true, clean), "{path}");
        }
        assert_eq!(
            Routes::new("", "/metrics").find("PUT", "/metrics//job/a", Some("x=1")),
            to(true, "/metrics/job/a?x=1")
        );
        assert_eq!(
            find("PUT", "/metrics/job/..."),
            Ok(Route::Push(group("...", "")))
        );
    }

    #[test]
    fn a_last_slash_and_case_are_mended_by_a_redirect() {
        assert_eq!(find("PUT", "/metrics/job/"), to(false, "/metrics/job"));
        assert_eq!(find("PUT", "/Metrics/job/a"), to(false, "/metrics/job/a"));
        assert_eq!(
            find("DELETE", "/metrics/JOB/aB/C"),
            Err(NoRoute::Redirect {
                permanent: false,
                location: "/metrics/job/aB/C".into()
            })
        );
        assert_eq!(find("GET", "/metrics/"), to(true, "/metrics"));
        assert_eq!(find("GET", "/METRICS"), to(true, "/metrics"));
        assert_eq!(find("GET", "/static"), to(true, "/static/"));
        assert_eq!(find("GET", "/api/v1"), to(true, "/api/v1/"));
    }

    #[test]
    fn everything_moves_below_a_prefix() {
        let routes = Routes::new("/pg/", "/metrics");
        let find = |method: &str, path: &'static str| routes.find(method, path, None);
        assert_eq!(
            find("PUT", "/pg/metrics/job/a"),
            Ok(Route::Push(group("a", "")))
        );
        assert_eq!(find("GET", "/pg/metrics"), Ok(Route::Scrape));
        assert_eq!(
            find("GET", "/pg/api/v1/status"),
            Ok(Route::Api(ApiRoute::Status))
        );
        assert_eq!(find("GET", "/pg"), to(true, "/pg/"));
        assert_eq!(find("GET", "/PG/metrics"), to(true, "/pg/metrics"));
        for path in ["/", "/metrics", "/metrics/job/a", "/api/v1/status"] {
            assert_eq!(find("PUT", path), Err(NoRoute::NotFound), "{path}");
        }
        let moved = Routes::new("", "/foo/");
        assert_eq!(moved.find("GET", "/foo", None), Ok(Route::Scrape));
        assert_eq!(moved.find("GET", "/metrics", None), Err(NoRoute::NotFound));
        assert_eq!(
            moved.find("PUT", "/metrics/job/a", None),
            Ok(Route::Push(group("a", "")))
        );
        let below_groups = Routes::new("", "/metrics/job/a");
        assert_eq!(
            below_groups.find("GET", "/metrics/job/a", None),
            Ok(Route::Scrape)
        );
        assert_eq!(
            below_groups.find("PUT", "/metrics/job/a", None),
            Ok(Route::Push(group("a", "")))
        );
    }

    #[test]
    fn what_is_scraped_cannot_be_where_something_else_is() {
        let taken = [
            "/",
            "//",
            "/status",
            "/-/healthy",
            "/-/healthy/",
            "/-/ready",
            "/-/quit",
            "/api/v1",
            "/api/v1/x",
            "/static/x",
        ];
        for (paths, expected) in [
            (&taken[..], true),
            (
                &["/metrics", "/metrics/job/a", "/a", "/static", "/-/", "/api"],
                false,
            ),
        ] {
            for path in paths {
                for prefix in ["", "/pg"] {
                    assert_eq!(
                        Routes::new(prefix, path).is_telemetry_taken(),
                        expected,
                        "{prefix}{path}"
                    );
                }
            }
        }
    }
}
