//! HTTP: requests to a gateway or a reference.

use super::progress::Progress;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side may take until it begins to answer: the reference builds its answers as a
/// whole, which takes long if it has many groups.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

/// How many bytes are read at a time.
const READ_BYTES: usize = 256 << 10;

/// The longest part of an error page that is shown.
const SHOWN_CHARS_MAX: usize = 300;

/// Where a gateway or a reference is, and what its requests need.
#[derive(Clone, Debug)]
pub struct Address {
    /// `http://host:port/prefix`, without user and password, and without a slash at the end.
    url: String,
    /// Names and values of headers, that with user and password among them.
    headers: Vec<(String, String)>,
    /// Certificates of authorities, in place of the well-known ones.
    authorities: Option<Vec<ureq::tls::Certificate<'static>>>,
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err("the URL has to be such as http://host:9091 or https://host/prefix".into());
        }
        let mut address = Self {
            url: url.trim_end_matches('/').to_owned(),
            headers: Vec::new(),
            authorities: None,
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if let Some((credentials, _)) = authority.rsplit_once('@') {
            address.url = address.url.replacen(&format!("{credentials}@"), "", 1);
            let credentials: Vec<u8> = percent_decode_str(credentials).collect();
            let basic = format!("Basic {}", BASE64_STANDARD.encode(credentials));
            address.headers.push(("Authorization".to_owned(), basic));
        }
        Ok(address)
    }
}

impl Address {
    /// This address, with a header for all requests.
    ///
    /// # Errors
    ///
    /// The text is not `Name: value`.
    pub fn with_header(mut self, header: &str) -> Result<Self, String> {
        let (name, value) = header
            .split_once(':')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("{header:?} is no header such as \"Name: value\""))?;
        self.headers
            .push((name.to_owned(), value.trim().to_owned()));
        Ok(self)
    }

    /// This address, with the certificates of the authorities that are trusted, in PEM.
    ///
    /// # Errors
    ///
    /// There is no certificate in the text, or something else is wrong with it.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, String> {
        let mut certificates = Vec::new();
        for item in parse_pem(pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
                certificates.push(certificate);
            }
        }
        if certificates.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        self.authorities = Some(certificates);
        Ok(self)
    }
}

/// Sends requests to one address.
pub(super) struct Client {
    agent: Agent,
    address: Address,
}

/// What was answered.
pub(super) struct Answer {
    pub status: u16,
    /// Empty if there is none.
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(address: &Address) -> Self {
        let tls = match &address.authorities {
            Some(certificates) => RootCerts::new_with_certs(certificates),
            None => RootCerts::WebPki,
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("pushgateway/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .tls_config(TlsConfig::builder().root_certs(tls).build());
        Self {
            agent: config.build().new_agent(),
            address: address.clone(),
        }
    }

    /// Where requests go to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// GET of a path below the address.
    ///
    /// # Errors
    ///
    /// There is no complete answer.
    pub fn get(&self, path: &str, accept: &str, progress: &Progress) -> Result<Answer, String> {
        let url = format!("{}{path}", self.address.url);
        let mut request = self.agent.get(url).header("Accept", accept);
        for (name, value) in &self.address.headers {
            request = request.header(name, value);
        }
        self.receive(request.call(), path, progress)
    }

    /// POST of a body to a path below the address.
    ///
    /// # Errors
    ///
    /// There is no complete answer.
    pub fn post(&self, path: &str, body: &[u8], progress: &Progress) -> Result<Answer, String> {
        let url = format!("{}{path}", self.address.url);
        let mut request = self
            .agent
            .post(url)
            .content_type("application/octet-stream");
        for (name, value) in &self.address.headers {
            request = request.header(name, value);
        }
        self.receive(request.send(body), path, progress)
    }

    fn receive(
        &self,
        answer: Result<ureq::http::Response<Body>, ureq::Error>,
        path: &str,
        progress: &Progress,
    ) -> Result<Answer, String> {
        let failed = |error: &dyn fmt::Display| format!("{}{path}: {error}", self.address);
        let mut answer = answer.map_err(|error| failed(&error))?;
        let content_type = answer.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let status = answer.status().as_u16();
        let mut reader = answer.body_mut().with_config().limit(u64::MAX).reader();
        let mut body = Vec::new();
        loop {
            let before = body.len();
            let mut piece = reader.by_ref().take(READ_BYTES as u64);
            piece
                .read_to_end(&mut body)
                .map_err(|error| failed(&error))?;
            if body.len() == before {
                break;
            }
            if status == 200 {
                progress.advance_bytes(body.len() - before);
            }
        }
        Ok(Answer {
            status,
            content_type,
            body,
        })
    }

    /// The message for an answer that is not what was asked for.
    pub fn unexpected(&self, path: &str, answer: &Answer) -> String {
        format!("{}{path}: {}", self.address, answer.first_line())
    }
}

impl Answer {
    /// The status, and the first line of the body.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line: String = text
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_control())
            .take(SHOWN_CHARS_MAX)
            .collect();
        match (self.status, line.is_empty()) {
            (401 | 403, _) => format!(
                "{} (put user:password@ into the URL, or add a header)",
                self.status
            ),
            (status, true) => format!("status {status}"),
            (status, false) => format!("{status}: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address: Address = "https://user:p%40ss@host:9091/p@g/".parse().unwrap();
        assert_eq!(address.to_string(), "https://host:9091/p@g");
        let credentials = ("Authorization".to_owned(), "Basic dXNlcjpwQHNz".to_owned());
        assert_eq!(address.headers, [credentials]);
        let address: Address = "http://[::1]:9091".parse().unwrap();
        assert_eq!(
            (address.to_string().as_str(), address.headers.len()),
            ("http://[::1]:9091", 0)
        );
        for wrong in [
            "host:9091",
            "ftp://host",
            "http://",
            "/path",
            "http://h/?a=b",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        let header = |text: &str| address.clone().with_header(text).map(|a| a.headers);
        assert_eq!(
            header("X-Scope: a:b").unwrap(),
            [("X-Scope".to_owned(), "a:b".to_owned())]
        );
        assert!(header("nothing").is_err() && header(": x").is_err());
        assert!(address.with_authorities(b"no certificate").is_err());
    }
}
