//! Builders that are part of this program: what they are handed of the derivation, and of the host.

#![expect(clippy::disallowed_methods, reason = "reads what a download needs before its sandbox is entered")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use builtins::{Call, Download, FlatHash, Reach};
use derivation::{Derivation, Output};
use sandbox::{Network, Program};
use serde_json::Value;
use settings::FodNetwork;
use store_path::{Method, StorePath};

use crate::failure::BuildFailure;
use crate::work::Work;

const PREFIX: &str = "builtin:";

/// Netrc files, where `netrc-file` names none.
const NETRC: &[&str] = &["/etc/store/netrc", "/etc/nix/netrc"];

/// Files with the certificates of authorities, where nobody names one, as systems have them.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt",
];

/// Variables of the caller that name another one, in the order of Nix.
const CERTIFICATE_VARIABLES: &[&str] = &["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"];

/// Variables of the caller about proxies, each also in capitals.
const PROXIES: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// The name of the builder, if it is none of the sandbox.
pub(crate) fn name(derivation: &Derivation) -> Option<&str> {
    std::str::from_utf8(&derivation.builder).ok().filter(|name| name.starts_with(PREFIX))
}

/// Refuses a builder that there is not, and one that would not be allowed what it does.
pub(crate) fn check(drv: &StorePath, derivation: &Derivation) -> Result<(), BuildFailure> {
    let Some(name) = name(derivation) else { return Ok(()) };
    if !builtins::is_known(name) {
        let known: Vec<String> = builtins::BUILDERS.iter().map(|(known, _)| format!("`{known}`")).collect();
        let (drv, builder) = (drv.clone(), name.to_owned());
        return Err(BuildFailure::Builtin { drv, builder, known: known.join(", ") });
    }
    if name == builtins::FETCHURL && !has_network(derivation) {
        let problem = format!(
            "`{name}` downloads, and only what is made may tell whether it was the right thing: it takes a fixed output \
             (`outputHash`), or an impure derivation"
        );
        return Err(BuildFailure::Attribute { drv: drv.clone(), problem });
    }
    Ok(())
}

/// Whether its kind of derivation may have a network.
fn has_network(derivation: &Derivation) -> bool {
    derivation.is_fixed() || derivation.outputs.values().any(|output| matches!(output, Output::Impure { .. }))
}

/// What runs in the place of the program, with `attributes` as the derivation has them and `build_dir` as it is inside.
pub(crate) fn program(
    work: &Work<'_>,
    name: &str,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    build_dir: &Path,
) -> Result<Program, BuildFailure> {
    let download = if name == builtins::FETCHURL { Some(download(work)?) } else { None };
    let call = Call { attributes, build_dir: build_dir.to_string_lossy().into_owned(), download };
    Ok(Program::Function { name: name.to_owned(), input: call.encode() })
}

/// Attributes as the environment would have them, with the path of each output under its name.
pub(crate) fn flattened(attributes: &serde_json::Map<String, Value>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let outputs = attributes.get("outputs").and_then(Value::as_object).into_iter().flatten();
    let all = attributes.iter().filter(|(name, _)| *name != "outputs").chain(outputs);
    all.map(|(name, value)| (name.clone().into_bytes(), text(value).into_bytes())).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "1".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(false) | Value::Object(_) => String::new(),
    }
}

fn download(work: &Work<'_>) -> Result<Download, BuildFailure> {
    let (settings, host) = (work.context.settings, work.context.host);
    let variable = |name: &str| {
        let value = host.environment.get(name.as_bytes())?;
        Some(String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
    };
    let proxies = PROXIES.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
    let named = CERTIFICATE_VARIABLES.iter().find_map(|name| variable(name)).map(PathBuf::from);
    let certificates = read(settings.ssl_cert_file.as_ref().or(named.as_ref()), CERTIFICATES)?;
    Ok(Download {
        hash: flat_hash(work.request.derivation),
        hashed_mirrors: settings.hashed_mirrors.clone(),
        attempts: u32::try_from(settings.download_attempts).unwrap_or(u32::MAX),
        connect_timeout_secs: settings.connect_timeout as u64,
        stalled_timeout_secs: settings.stalled_download_timeout as u64,
        netrc: read(settings.netrc_file.as_ref(), NETRC)?.map(|(_, contents)| contents),
        certificates: certificates.map(|(path, contents)| (path.display().to_string(), contents)),
        proxies: proxies.filter_map(|name| variable(&name).map(|value| (name, value))).collect(),
        reach: reach(work),
    })
}

fn reach(work: &Work<'_>) -> Reach {
    match work.network() {
        Network::Host => Reach::Host,
        Network::Private(_) => Reach::Outside,
        Network::Withheld(why) => Reach::Nothing(format!("it was withheld ({why})")),
        Network::Loopback if work.context.settings.fod_network == FodNetwork::None => {
            Reach::Nothing("`fod-network = none`".to_owned())
        }
        Network::Loopback => Reach::Nothing("its kind of derivation has none".to_owned()),
    }
}

fn flat_hash(derivation: &Derivation) -> Option<FlatHash> {
    derivation.outputs.values().find_map(|output| match output {
        Output::Fixed { method: Method::Flat, hash, .. } => {
            Some(FlatHash { algorithm: hash.algorithm().to_string(), base16: hash.to_base16() })
        }
        _ => None,
    })
}

/// Reads the file that somebody has named, or else the first that is there and may be read.
fn read(named: Option<&PathBuf>, usual: &[&str]) -> Result<Option<(PathBuf, Vec<u8>)>, BuildFailure> {
    if let Some(path) = named {
        let failed = |source: io::Error| BuildFailure::File { action: "read", path: path.clone(), source };
        return Ok(Some((path.clone(), fs::read(path).map_err(failed)?)));
    }
    // An ordinary user may not read what is for root, and need not.
    Ok(usual.iter().find_map(|path| Some((PathBuf::from(path), fs::read(path).ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_attributes_are_text_as_in_an_environment() {
        let json = r#"{ "url": "http://x", "unpack": true, "executable": false, "derivations": ["true", 5, ["1", "/a"]],
                        "outputs": { "out": "/nix/store/x" } }"#;
        let Ok(Value::Object(attributes)) = serde_json::from_str(json) else { panic!("an object") };
        let flat = flattened(&attributes);
        let get = |name: &str| std::str::from_utf8(&flat[name.as_bytes()]).unwrap();
        assert_eq!([get("url"), get("unpack"), get("executable")], ["http://x", "1", ""]);
        assert_eq!([get("derivations"), get("out")], ["true 5 1 /a", "/nix/store/x"]);
    }
}
