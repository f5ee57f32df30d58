//! One request on the wire. Nothing of TLS is set up, and no certificate is read, before a URL wants it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Connector, DefaultConnector, NextTimeout, TcpConnector};
use ureq::{Agent, Body, Error, Proxy, Timeout};

use super::error::Problem;
use super::forward::WholeUrl;
use super::url;
use crate::call::Download;

/// Asks for a URL, which has no login in it, and returns the answer, whatever it says.
pub(crate) fn get(
    url: &str,
    mut headers: Vec<(&'static str, String)>,
    proxy: Option<&str>,
    download: &Download,
) -> Result<Response<Body>, Problem> {
    let config = config(url, download)?;
    let agent = match proxy.map(Way::by) {
        None => agent(config, DefaultConnector::default(), None),
        Some(Way::Forward { proxy, login }) if !is_secure(url) => {
            headers.extend(login.map(|login| ("Proxy-Authorization", basic(&login))));
            let origin = url.split('/').take(3).collect::<Vec<_>>().join("/");
            let connector = ().chain(TcpConnector::default()).chain(WholeUrl { origin });
            agent(config, connector, Some(proxy.parse().map_err(|_| bad_proxy(&proxy))?))
        }
        Some(Way::Forward { .. } | Way::Tunnel) => {
            let proxy = proxy.unwrap_or_default();
            let made = Proxy::new(proxy).map_err(|_| bad_proxy(&url::shown(proxy)))?;
            agent(config.proxy(Some(made)), DefaultConnector::default(), None)
        }
    };
    let request =
        headers.into_iter().fold(agent.get(url), |request, (name, value)| request.header(name, value));
    request.call().map_err(|error| match (problem(error), proxy) {
        (Problem::Proxy { why, .. }, Some(proxy)) => Problem::Proxy { proxy: url::shown(proxy), why },
        (problem, _) => problem,
    })
}

fn is_secure(url: &str) -> bool {
    url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
}

/// How a proxy is asked for an `http` URL.
enum Way {
    Forward {
        proxy: String,
        login: Option<(String, String)>,
    },
    /// Of what goes on in the tunnel it sees nothing.
    Tunnel,
}

impl Way {
    fn by(proxy: &str) -> Self {
        match proxy.split_once("://") {
            None => Self::by(&format!("http://{proxy}")),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
                let (proxy, login) = url::take_login(proxy);
                Self::Forward { proxy, login }
            }
            Some(_) => Self::Tunnel,
        }
    }
}

fn bad_proxy(proxy: &str) -> Problem {
    Problem::Proxy { proxy: proxy.to_owned(), why: "it is no URL of a proxy".to_owned() }
}

/// A name and a password, as the header says them.
pub(crate) fn basic((name, password): &(String, String)) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{name}:{password}").as_bytes()))
}

fn config(url: &str, download: &Download) -> Result<ConfigBuilder<AgentScope>, Problem> {
    let seconds = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    let connect = seconds(download.connect_timeout_secs);
    let stalled = seconds(download.stalled_timeout_secs);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Followed by our caller, as each host has its login and its proxy.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_resolve(connect)
        .timeout_connect(connect)
        .timeout_per_read(stalled)
        .timeout_per_write(stalled)
        .user_agent(concat!("store/", env!("CARGO_PKG_VERSION")))
        .accept("*/*")
        // What is wanted are the bytes of the file, whose hash is known.
        .accept_encoding("identity");
    Ok(if is_secure(url) { config.tls_config(tls(download)?) } else { config })
}

fn agent(config: ConfigBuilder<AgentScope>, connector: impl Connector, proxy: Option<Uri>) -> Agent {
    Agent::with_parts(config.build(), connector, Names { proxy })
}

fn tls(download: &Download) -> Result<TlsConfig, Problem> {
    let no = |why: String| Problem::Certificates { why };
    let (path, pem) = download.certificates.as_ref().ok_or_else(|| {
        no("this machine has no certificates of authorities; install `ca-certificates`, or let `ssl-cert-file` name some"
            .to_owned())
    })?;
    let certificates: Vec<Certificate<'static>> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(no(format!("there is no certificate in `{path}` (setting `ssl-cert-file`)")));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Looks names up, and keeps apart that one was not found from that nobody is there.
#[derive(Debug)]
struct Names {
    /// Asked in the place of every host.
    proxy: Option<Uri>,
}

#[derive(Debug, thiserror::Error)]
#[error("{source}")]
struct NameError {
    host: String,
    source: io::Error,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let asked = self.proxy.as_ref().unwrap_or(uri);
        DefaultResolver::default().resolve(asked, config, timeout).map_err(|error| match error {
            Error::Io(source) => {
                let host = asked.host().unwrap_or_default().to_owned();
                Error::Other(Box::new(NameError { host, source }))
            }
            error => error,
        })
    }
}

/// What an error of the wire means.
pub(crate) fn problem(error: Error) -> Problem {
    match error {
        Error::Io(source) => broken(source),
        Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
            Problem::Timeout { what: "nothing came", setting: "stalled-download-timeout" }
        }
        Error::Timeout(_) => Problem::Timeout { what: "there was no connection", setting: "connect-timeout" },
        Error::HostNotFound => Problem::Name { host: String::new(), source: io::ErrorKind::NotFound.into() },
        Error::Rustls(source) => Problem::Tls { source: Box::new(source) },
        Error::Tls(why) => Problem::Certificates { why: why.to_owned() },
        Error::BadUri(why) => Problem::Url { why },
        Error::Http(source) => Problem::Url { why: source.to_string() },
        Error::ConnectProxyFailed(why) => Problem::Proxy { proxy: String::new(), why },
        Error::ConnectionFailed => Problem::Connection { source: io::ErrorKind::NotConnected.into() },
        Error::Other(source) => match source.downcast::<NameError>() {
            Ok(name) => Problem::Name { host: name.host, source: name.source },
            Err(source) => Problem::Protocol { source },
        },
        error => Problem::Protocol { source: Box::new(error) },
    }
}

fn broken(source: io::Error) -> Problem {
    if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        return Problem::Tls { source: Box::new(source) };
    }
    match source.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            Problem::Timeout { what: "nothing came", setting: "stalled-download-timeout" }
        }
        _ => Problem::Connection { source },
    }
}
