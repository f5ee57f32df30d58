//! One try at a URL: redirects, logins and proxies, and what the answer means.

use ureq::Body;
use ureq::http::{HeaderMap, Response};

use super::agent::{self, basic};
use super::error::{FetchError, Problem};
use super::{netrc, proxy, url};
use crate::call::Download;
use crate::log::Log;

/// As many as Nix follows.
const MOST_REDIRECTS: usize = 10;

/// What is there already of a file, and which version of it.
pub(crate) struct From {
    pub(crate) length: u64,
    pub(crate) validator: String,
}

/// A server's answer that has the file, or the rest of it.
pub(crate) struct Answer {
    /// Whom it is from, after all redirects.
    pub(crate) url: String,
    /// Where in the file it begins.
    pub(crate) start: u64,
    pub(crate) response: Response<Body>,
}

/// Asks for a URL, from where an earlier transfer broke off.
pub(crate) fn get(
    wanted: &str,
    from: Option<&From>,
    download: &Download,
    log: &Log,
) -> Result<Answer, FetchError> {
    let mut url = wanted.to_owned();
    for hop in 0..=MOST_REDIRECTS {
        let proxy = proxy(&url, download);
        let failed = |source| failure_by(proxy, &url, source, download);
        if !url::is_http(&url) {
            return Err(failed(match hop {
                0 => Problem::Url { why: "only `http`, `https` and `file` are known".to_owned() },
                // Whoever answers must not make a build read its own files.
                _ => Problem::BadRedirect { to: url::shown(&url) },
            }));
        }
        proxy.iter().for_each(|proxy| log.line(format_args!("asking the proxy `{}`", url::shown(proxy))));
        let response = ask(&url, proxy, from, download).map_err(failed)?;
        let status = response.status().as_u16();
        match (status, header(response.headers(), "location")) {
            (301 | 302 | 303 | 307 | 308, Some(to)) => {
                url = url::join(&url::take_login(&url).0, to);
                log.line(format_args!("redirected to `{}`", url::shown(&url)));
            }
            _ => {
                return accept(&url, from, response)
                    .map_err(|(source, retry_after_secs)| FetchError { retry_after_secs, ..failed(source) });
            }
        }
    }
    Err(failure(wanted, Problem::Redirects { most: MOST_REDIRECTS }, download))
}

/// Says of a problem which URL it is about, and what can be done.
pub(crate) fn failure(url: &str, source: Problem, download: &Download) -> FetchError {
    failure_by(None, url, source, download)
}

/// The same, where a proxy was asked for the URL.
fn failure_by(proxy: Option<&str>, url: &str, source: Problem, download: &Download) -> FetchError {
    let shown = url::shown(url);
    let asked = proxy.map_or_else(|| shown.clone(), url::shown);
    let beyond = source.beyond(host(&asked), &download.reach);
    let is_hopeless = beyond.is_some();
    FetchError {
        hint: beyond.or_else(|| source.hint()),
        url: shown,
        source,
        is_hopeless,
        retry_after_secs: None,
    }
}

/// The proxy that is asked for a URL.
fn proxy<'a>(url: &str, download: &'a Download) -> Option<&'a str> {
    let bare = url::shown(url);
    let scheme = bare.split(':').next().unwrap_or_default().to_ascii_lowercase();
    proxy::of(&download.proxies, &scheme, host(&bare))
}

/// The host of a URL without a login.
fn host(url: &str) -> &str {
    // A proxy may be named without its scheme.
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn ask(
    url: &str,
    proxy: Option<&str>,
    from: Option<&From>,
    download: &Download,
) -> Result<Response<Body>, Problem> {
    let (bare, login) = url::take_login(url);
    let bare = url::escaped(&bare);
    let host = host(&bare);
    let login = login.or_else(|| netrc::login(download.netrc.as_deref()?, host));
    let mut headers = Vec::new();
    headers.extend(login.map(|login| ("Authorization", basic(&login))));
    if let Some(From { length, validator }) = from {
        headers.push(("Range", format!("bytes={length}-")));
        headers.push(("If-Range", validator.clone()));
    }
    agent::get(&bare, headers, proxy, download)
}

/// Makes sure that an answer has what was asked for; else says why not, and how long to wait.
fn accept(
    url: &str,
    from: Option<&From>,
    response: Response<Body>,
) -> Result<Answer, (Problem, Option<u64>)> {
    let start = match (response.status().as_u16(), from) {
        (200, _) => 0,
        (206, Some(from)) if range_start(response.headers()) == Some(from.length) => from.length,
        (206 | 416, Some(_)) => return Err((Problem::Range, None)),
        (code, _) => {
            let name = response.status().canonical_reason().unwrap_or_default().to_owned();
            let wait = header(response.headers(), "retry-after").and_then(|text| text.trim().parse().ok());
            return Err((Problem::Status { code, name }, wait));
        }
    };
    Ok(Answer { url: url.to_owned(), start, response })
}

fn range_start(headers: &HeaderMap) -> Option<u64> {
    header(headers, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

/// A header, if it is text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_what_is_before_the_port() {
        for (url, name) in [
            ("http://a:1/b", "a"),
            ("http://a?x", "a"),
            ("http://[::1]:8/", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host(url), name, "{url}");
        }
    }
}
