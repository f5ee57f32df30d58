//! Why something was not downloaded, what to do about it, and whether trying again may help.

use std::io;

use crate::call::Reach;
use crate::error::FileError;

/// Why a URL gave nothing. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("cannot download `{url}`{}", hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
pub(crate) struct FetchError {
    /// The URL that was asked last, without a password.
    pub(crate) url: String,
    pub(crate) hint: Option<String>,
    pub(crate) source: Problem,
    /// Whether the sandbox will not get there, however often it is tried.
    pub(crate) is_hopeless: bool,
    /// Seconds that the server wants to be left alone for.
    pub(crate) retry_after_secs: Option<u64>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("it is no URL that can be asked: {why}")]
    Url { why: String },
    #[error("the address of `{host}` cannot be found")]
    Name { host: String, source: io::Error },
    #[error("cannot connect, or the connection broke")]
    Connection { source: io::Error },
    #[error("{what} within the time that the setting `{setting}` gives")]
    Timeout { what: &'static str, setting: &'static str },
    #[error("no secure connection (TLS) can be had")]
    Tls { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("no secure connection (TLS) can be had: {why}")]
    Certificates { why: String },
    #[error("the server answered {code} {name}")]
    Status { code: u16, name: String },
    #[error("it was redirected more than {most} times")]
    Redirects { most: usize },
    #[error("the server answered a redirect to `{to}`, which is not followed")]
    BadRedirect { to: String },
    #[error("the server did not go on where the transfer broke off")]
    Range,
    #[error("the proxy `{proxy}` cannot be used: {why}")]
    Proxy { proxy: String, why: String },
    #[error("the answer makes no sense")]
    Protocol { source: Box<dyn std::error::Error + Send + Sync> },
    #[error(transparent)]
    File(#[from] FileError),
}

impl Problem {
    /// Whether the same may go well a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Name { .. } | Self::Connection { .. } | Self::Timeout { .. } | Self::Range => true,
            Self::Status { code: 408 | 429, .. } => true,
            Self::Status { code: 501 | 505 | 511, .. } => false,
            Self::Status { code, .. } => *code >= 500,
            _ => false,
        }
    }

    /// What is beyond the reach of the sandbox, if the network does not get anywhere.
    pub(crate) fn beyond(&self, host: &str, reach: &Reach) -> Option<String> {
        let is_own = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
        match (self, reach) {
            (Self::Name { .. } | Self::Connection { .. } | Self::Timeout { .. }, Reach::Nothing(why)) => {
                Some(format!("the sandbox has no network: {why}"))
            }
            (Self::Connection { .. }, Reach::Outside) if is_own => Some(
                "in its private network, that is the sandbox itself; `fod-network = host` reaches servers of this machine"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// What people can do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Status { code: 401 | 403, .. } => {
                "the file that the setting `netrc-file` names can hold a login"
            }
            Self::Status { code: 407, .. } => {
                "the proxy wants a login, as in `http_proxy=http://user:password@proxy`"
            }
            Self::Status { code: 404 | 410, .. } => "it is not there, or not any more",
            Self::Status { code: 429, .. } => "the server is asked too often",
            Self::Status { code: 500.., .. } => "the server has failed, or is overloaded",
            Self::Tls { .. } => "the setting `ssl-cert-file` names the authorities that are trusted",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
