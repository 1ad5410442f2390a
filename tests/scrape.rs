//! Scrapes as Prometheus sends them, against a real gateway.

mod common;

use common::{Client, Gateway, gunzip};

#[test]
fn a_plain_scrape_is_text_with_a_length() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "x 1\n");
    let response = gateway.request("GET", "/metrics", &[], b"");
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
    );
    assert_eq!(
        response.header("content-length"),
        Some(response.body.len().to_string().as_str())
    );
    let families: Vec<String> = response
        .text()
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# TYPE ")?
                .split(' ')
                .next()
                .map(str::to_owned)
        })
        .collect();
    assert!(families.is_sorted(), "{families:?}");
    assert!(
        families.contains(&"x".to_owned())
            && families.contains(&"pushgateway_build_info".to_owned())
    );
}

#[test]
fn gzip_is_one_member_of_the_same_text() {
    let gateway = Gateway::start();
    for i in 0..500 {
        gateway.put(
            &format!("/metrics/job/j/instance/{i}"),
            &format!("a {i}\nb{{l=\"{i}\"}} 0.{i}\n"),
        );
    }
    let compressed = gateway.request("GET", "/metrics", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    let pushed = |text: String| -> Vec<String> {
        text.lines()
            .filter(|line| {
                ["a{", "b{", "push_"]
                    .iter()
                    .any(|start| line.starts_with(start))
            })
            .map(str::to_owned)
            .collect()
    };
    let plain = pushed(gateway.scrape());
    assert_eq!(plain.len(), 2000);
    assert_eq!(
        pushed(String::from_utf8(gunzip(&compressed.body)).unwrap()),
        plain
    );
}

#[test]
fn encodings_that_a_client_accepts_may_be_spread_over_several_headers() {
    let gateway = Gateway::start();
    let encoding = |accepted: &[&str]| {
        let headers: Vec<_> = accepted
            .iter()
            .map(|value| ("Accept-Encoding", *value))
            .collect();
        let response = gateway.request("GET", "/metrics", &headers, b"");
        response.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(encoding(&["br", "gzip"]).as_deref(), Some("gzip"));
    assert_eq!(encoding(&["br", "zstd", "gzip"]).as_deref(), Some("gzip"));
    assert_eq!(encoding(&["gzip", "identity"]), None);
}

#[test]
fn every_scrape_shows_the_pushes_that_were_answered_before() {
    let gateway = Gateway::start();
    let (mut pusher, mut scraper) = (Client::new(&gateway), Client::new(&gateway));
    for i in 0..300 {
        let encoding: &[(&str, &str)] = if i % 3 == 0 {
            &[("Accept-Encoding", "gzip")]
        } else {
            &[]
        };
        if i % 7 == 6 {
            assert_eq!(
                pusher.request("DELETE", "/metrics/job/j", &[], b"").status,
                202
            );
        } else {
            assert_eq!(
                pusher
                    .request("PUT", "/metrics/job/j", &[], format!("x {i}\n").as_bytes())
                    .status,
                200
            );
        }
        let response = scraper.request("GET", "/metrics", encoding, b"");
        let body = if encoding.is_empty() {
            response.body
        } else {
            gunzip(&response.body)
        };
        let text = String::from_utf8(body).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("x{instance=\"\",job=\"j\"} "));
        let expected = i.to_string();
        assert_eq!(
            value,
            if i % 7 == 6 {
                None
            } else {
                Some(expected.as_str())
            }
        );
    }
}

#[test]
fn protobuf_is_sent_to_clients_that_ask_for_it() {
    let gateway = Gateway::start();
    gateway.put(
        "/metrics/job/j",
        "# HELP x help\n# TYPE x gauge\nx{l=\"v\"} 2.5\n",
    );
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;q=0.3";
    let response = gateway.request("GET", "/metrics", &[("Accept", accept)], b"");
    assert_eq!(
        response.header("content-type"),
        Some(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; escaping=underscores"
        )
    );
    let families = pushgateway::exposition::protobuf::parse(&response.body).unwrap();
    let x = families
        .skeleton
        .families()
        .find(|family| family.name() == "x")
        .unwrap();
    assert_eq!(x.help(), Some("help"));
    assert_eq!(
        x.metrics().next().unwrap().labels().collect::<Vec<_>>(),
        [("instance", ""), ("job", "j"), ("l", "v")]
    );
    assert_eq!(families.values[x.value_range()], [2.5f64.to_bits()]);
    let text = accept.replace("delimited", "compact-text");
    let response = gateway.request("GET", "/metrics", &[("Accept", &text)], b"");
    assert!(
        response.text().contains(
            r#"name:"x" help:"help" type:GAUGE metric:{label:{name:"instance" value:""}"#
        )
    );
}

#[test]
fn own_families_count_requests_under_the_names_of_the_reference() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "x 1\n");
    gateway.put("/metrics/job/j", "x\n");
    gateway.delete("/metrics/job/k");
    gateway.request("GET", "/-/healthy", &[], b"");
    let scrape = gateway.scrape();
    for line in [
        r#"pushgateway_http_requests_total{code="200",handler="push",method="put"} 1"#,
        r#"pushgateway_http_requests_total{code="400",handler="push",method="put"} 1"#,
        r#"pushgateway_http_requests_total{code="202",handler="delete",method="delete"} 1"#,
        r#"pushgateway_http_requests_total{code="200",handler="healthy",method="get"} 1"#,
        r#"pushgateway_http_push_size_bytes_count{method="put"} 2"#,
        r#"pushgateway_http_push_duration_seconds_count{method="put"} 2"#,
        "pushgateway_groups 1",
        "pushgateway_series 3",
    ] {
        assert!(scrape.contains(&format!("{line}\n")), "{line}");
    }
}

#[test]
fn health_and_readiness_answer_ok() {
    let gateway = Gateway::start();
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(
            gateway.request("GET", path, &[], b"").status_and_text(),
            (200, "OK".to_owned())
        );
        assert_eq!(
            gateway.request("PUT", path, &[], b"").header("allow"),
            Some("GET, OPTIONS")
        );
    }
}
