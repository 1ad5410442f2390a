//! Tests of the routes.

use super::super::group_path::GroupPath;
use super::super::route::{GET, GROUP, PUT, QUIT, QUIT_BELOW_PREFIX};
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

fn to(is_permanent: bool, location: &str) -> Result<Route<'static>, NoRoute> {
    Err(NoRoute::Redirect {
        is_permanent,
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
    assert_eq!(find("POST", "/api/v1/admin/import"), Err(NoRoute::NotFound));
    let with_admin = Routes::new("", "/metrics").with_admin();
    assert_eq!(
        with_admin.find("PUT", "/api/v1/admin/wipe", None),
        Ok(Route::Api(ApiRoute::Wipe))
    );
    assert_eq!(
        with_admin.find("POST", "/api/v1/admin/import", None),
        Ok(Route::Api(ApiRoute::Import))
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
fn quitting_is_below_the_prefix_and_get_is_refused_outside() {
    let routes = Routes::new("/pg", "/metrics");
    let not_allowed = |methods| Err(NoRoute::MethodNotAllowed(methods));
    for (method, path, expected) in [
        ("PUT", "/pg/-/quit", Ok(Route::Quit)),
        ("POST", "/pg/-/quit", Ok(Route::Quit)),
        ("GET", "/pg/-/quit", not_allowed(QUIT_BELOW_PREFIX)),
        ("DELETE", "/pg/-/quit", not_allowed(QUIT_BELOW_PREFIX)),
        ("GET", "/-/quit", Ok(Route::Quit)),
        ("PUT", "/-/quit", not_allowed(GET)),
        ("POST", "/-/quit", not_allowed(GET)),
    ] {
        let found = routes.find(method, path, None);
        assert_eq!(found, expected, "{method} {path}");
    }
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
fn a_redirect_corrects_the_last_slash_and_the_case_of_letters() {
    assert_eq!(find("PUT", "/metrics/job/"), to(false, "/metrics/job"));
    assert_eq!(find("PUT", "/Metrics/job/a"), to(false, "/metrics/job/a"));
    assert_eq!(
        find("DELETE", "/metrics/JOB/aB/C"),
        Err(NoRoute::Redirect {
            is_permanent: false,
            location: "/metrics/job/aB/C".into()
        })
    );
    assert_eq!(find("GET", "/metrics/"), to(true, "/metrics"));
    assert_eq!(find("GET", "/METRICS"), to(true, "/metrics"));
    assert_eq!(find("GET", "/static"), to(true, "/static/"));
    assert_eq!(find("GET", "/api/v1"), to(true, "/api/v1/"));
}

#[test]
fn all_paths_begin_with_the_prefix() {
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
fn a_telemetry_path_that_belongs_to_another_page_is_taken() {
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
                    Routes::new(prefix, path).is_telemetry_path_taken(),
                    expected,
                    "{prefix}{path}"
                );
            }
        }
    }
}
