//! The status page: how many groups the gateway has, its flags, and links to its other pages.

use std::fmt::Write as _;

/// What the page shows.
pub(crate) struct StatusPage<'a> {
    /// How many groups there are.
    pub n_groups: u64,
    /// The path of this page, with its last slash.
    pub root: &'a str,
    /// The path of scrapes.
    pub telemetry_path: &'a str,
    /// The gateway's version.
    pub version: &'a str,
    /// Names and values of the flags.
    pub flags: &'a [(String, String)],
}

/// The page as HTML.
pub(crate) fn status_page(page: &StatusPage<'_>) -> String {
    let mut flags = String::new();
    for (name, value) in page.flags {
        // Writing to a String cannot fail.
        let _ = write!(flags, "<tr><th>--{}<td>{}", escape(name), escape(value));
    }
    // A relative link: a proxy in front may serve this page under another path.
    let telemetry = page
        .telemetry_path
        .strip_prefix(page.root)
        .unwrap_or(page.telemetry_path);
    let telemetry = escape(telemetry);
    format!(
        "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><title>Pushgateway</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         th{{text-align:left;font-weight:normal;padding-right:2rem}}td{{font-family:monospace}}</style>\n\
         <h1>Pushgateway</h1>\n<p>Version {}, {} groups.\n\
         <p><a href=\"{telemetry}\">Metrics</a> · <a href=\"api/v1/metrics\">Groups as JSON</a> · \
         <a href=\"api/v1/status\">Status as JSON</a>\n<h2>Flags</h2>\n<table>{flags}</table>\n",
        escape(page.version),
        page.n_groups,
    )
}

/// `text` without characters that mean something in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_escaped() {
        let flags = [(
            "web.external-url".to_owned(),
            "http://x/<script>\"".to_owned(),
        )];
        let page = status_page(&StatusPage {
            n_groups: 3,
            root: "/pg/",
            telemetry_path: "/pg/metrics",
            version: "1",
            flags: &flags,
        });
        assert!(page.contains("http://x/&lt;script&gt;&quot;") && !page.contains("<script>"));
        assert!(
            page.contains("href=\"metrics\"")
                && page.contains("href=\"api/v1/metrics\"")
                && page.contains("3 groups")
        );
    }
}
