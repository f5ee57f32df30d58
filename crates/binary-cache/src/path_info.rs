//! What is known of store paths as JSON, in the three versions that Nix has had.
//!
//! Version 1 has full paths and content addresses as texts; what Nix printed before there were versions is version 1
//! without saying so. Version 2 has base names and content addresses taken apart; version 3 signatures, too.

use serde_json::{Map, Value, json};
use store_path::{ContentAddress, Hash, HashAlgorithm, PathInfo, StoreDir, StorePath};

use crate::fields::{
    JsonError, Problem, Read, boolean, kind, list, number, object, optional, required, signature, string,
    structured_signature,
};
use crate::{NarInfo, fields};

/// A version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Until Nix 2.32, and what `--json-format 1` of later ones prints.
    One,
    /// For a short time in 2.33.
    Two,
    /// Since then.
    Three,
}

impl Version {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// Returns its number.
    pub fn number(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }

    fn read(value: &Value) -> Read<Self> {
        let found = number(value)?;
        let version = Self::ALL.into_iter().find(|version| version.number() == found);
        version.ok_or_else(|| Problem::Version { found, known: "1, 2 and 3" }.into())
    }
}

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Only what is the same in every store that has the path.
    Contents,
    /// Also what differs: who made it, when it came, who signed it, where it can be fetched.
    Everything,
}

/// Reads what is known of one path. Fields that are not known are passed over: programs add their own.
///
/// Without a `version` it is `stated`, or else version 1.
pub(crate) fn parse(
    value: &Value,
    path: StorePath,
    stated: Option<Version>,
    store_dir: &StoreDir,
) -> Read<NarInfo> {
    let fields = object(value)?;
    let version = optional(fields, "version", Version::read)?.or(stated).unwrap_or(Version::One);
    check_store(fields, store_dir)?;
    let store_path = |value| match version {
        Version::One => Ok(store_dir.parse(string(value)?)?),
        _ => fields::base_path(value),
    };
    let info = PathInfo {
        path,
        nar_hash: required(fields, "narHash", |value| {
            Ok(Hash::parse(string(value)?, Some(HashAlgorithm::Sha256))?)
        })?,
        nar_size: required(fields, "narSize", number)?,
        references: required(fields, "references", |value| list(value, store_path))?.into_iter().collect(),
        deriver: optional(fields, "deriver", store_path)?,
        registration_time: optional(fields, "registrationTime", time)?.unwrap_or(0),
        ultimate: optional(fields, "ultimate", boolean)?.unwrap_or(false),
        signatures: optional(fields, "signatures", |value| list(value, signature))?.unwrap_or_default(),
        content_address: optional(fields, "ca", |value| content_address(value, version))?,
    };
    let text = |value| Ok(string(value)?.to_owned());
    Ok(NarInfo {
        info,
        url: optional(fields, "url", text)?,
        compression: optional(fields, "compression", text)?,
        file_hash: optional(fields, "downloadHash", |value| Ok(Hash::parse(string(value)?, None)?))?,
        file_size: optional(fields, "downloadSize", number)?,
    })
}

/// Reads what is known of several paths: the list of Nix up to 2.18, the object of later ones, and the wrapped one that
/// says its version. One path alone is also taken, if it says which.
pub fn parse_all(value: &Value, store_dir: &StoreDir) -> Read<Vec<NarInfo>> {
    if let Value::Array(items) = value {
        let item = |(index, item): (usize, &Value)| {
            with_own_path(item, store_dir).map_err(|error| error.inside(&format!("{index}")))
        };
        return items.iter().enumerate().map(item).collect();
    }
    let fields = object(value)?;
    if fields.contains_key("narHash") {
        return Ok(vec![with_own_path(value, store_dir)?]);
    }
    if let Some(all) = fields.get("info") {
        let version = optional(fields, "version", Version::read)?;
        check_store(fields, store_dir)?;
        return keyed(object(all).map_err(|error| error.inside("info"))?, version, store_dir)
            .map_err(|error| error.inside("info"));
    }
    keyed(fields, None, store_dir)
}

/// A path that is not known has null for what is known of it.
fn keyed(all: &Map<String, Value>, version: Option<Version>, store_dir: &StoreDir) -> Read<Vec<NarInfo>> {
    let known = all.iter().filter(|(_, value)| !value.is_null());
    let read = |(key, value): (&String, &Value)| {
        let path = any_path(key, store_dir).map_err(|error| error.inside(key))?;
        parse(value, path, version, store_dir).map_err(|error| error.inside(key))
    };
    known.map(read).collect()
}

fn with_own_path(value: &Value, store_dir: &StoreDir) -> Read<NarInfo> {
    let path = required(object(value)?, "path", |value| any_path(string(value)?, store_dir))?;
    parse(value, path, None, store_dir)
}

fn any_path(text: &str, store_dir: &StoreDir) -> Read<StorePath> {
    if text.starts_with('/') { Ok(store_dir.parse(text)?) } else { Ok(text.parse::<StorePath>()?) }
}

fn check_store(fields: &Map<String, Value>, store_dir: &StoreDir) -> Read<()> {
    let found = optional(fields, "storeDir", string)?;
    match found.filter(|found| *found != store_dir.as_str()) {
        Some(found) => {
            let problem = Problem::OtherStore { found: found.to_owned(), store_dir: store_dir.clone() };
            Err(JsonError::from(problem).inside("storeDir"))
        }
        None => Ok(()),
    }
}

fn time(value: &Value) -> Read<i64> {
    value.as_i64().ok_or_else(|| kind("a number of seconds"))
}

fn content_address(value: &Value, version: Version) -> Read<ContentAddress> {
    if version == Version::One { Ok(string(value)?.parse::<ContentAddress>()?) } else { parse_address(value) }
}

/// Reads a content address that is taken apart.
pub(crate) fn parse_address(value: &Value) -> Read<ContentAddress> {
    let fields = object(value)?;
    Ok(ContentAddress {
        method: required(fields, "method", |value| Ok(string(value)?.parse::<store_path::Method>()?))?,
        hash: required(fields, "hash", |value| Ok(Hash::parse(string(value)?, None)?))?,
    })
}

pub(crate) fn print_address(address: &ContentAddress) -> Value {
    json!({ "method": address.method.to_string(), "hash": address.hash.to_sri() })
}

/// Returns what is known of one path, as Nix prints it.
///
/// Only version 3 refuses something: signatures that name no key.
pub(crate) fn print(
    nar_info: &NarInfo,
    version: Version,
    extent: Extent,
    store_dir: &StoreDir,
) -> Read<Value> {
    let info = &nar_info.info;
    let path = |path: &StorePath| match version {
        Version::One => store_dir.print(path),
        _ => path.to_string(),
    };
    let address = |address: &ContentAddress| match version {
        Version::One => address.to_string().into(),
        _ => print_address(address),
    };
    let mut value = json!({
        "ca": info.content_address.as_ref().map(address),
        "narHash": info.nar_hash.to_sri(),
        "narSize": info.nar_size,
        "references": info.references.iter().map(path).collect::<Vec<_>>(),
        "storeDir": store_dir.as_str(),
        "version": version.number(),
    });
    if extent == Extent::Everything {
        value["deriver"] = info.deriver.as_ref().map(path).into();
        value["registrationTime"] = (info.registration_time != 0).then_some(info.registration_time).into();
        value["ultimate"] = info.ultimate.into();
        value["signatures"] = signatures(&info.signatures, version)?;
        put_download(&mut value, nar_info);
    }
    Ok(value)
}

fn signatures(texts: &[String], version: Version) -> Read<Value> {
    let print = |text: &String| match version {
        Version::Three => structured_signature(text),
        _ => Ok(text.as_str().into()),
    };
    let all: Result<Value, Problem> = texts.iter().map(print).collect();
    all.map_err(|problem| JsonError::from(problem).inside("signatures"))
}

fn put_download(value: &mut Value, nar_info: &NarInfo) {
    let mut put = |name: &str, field: Option<Value>| {
        if let Some(field) = field {
            value[name] = field;
        }
    };
    put("url", nar_info.url.as_deref().map(Value::from));
    put("compression", nar_info.compression.as_deref().map(Value::from));
    put("downloadHash", nar_info.file_hash.map(|hash| hash.to_sri().into()));
    put("downloadSize", nar_info.file_size.map(Value::from));
}

/// Returns what is known of several paths, as `nix path-info --json --json-format N` prints it: keyed by the paths, and
/// from version 2 on inside an object that says version and store directory.
pub fn print_all(infos: &[NarInfo], version: Version, extent: Extent, store_dir: &StoreDir) -> Read<Value> {
    let mut all = Map::new();
    for nar_info in infos {
        let path = &nar_info.info.path;
        let key = if version == Version::One { store_dir.print(path) } else { path.to_string() };
        let value = print(nar_info, version, extent, store_dir).map_err(|error| error.inside(&key))?;
        all.insert(key, value);
    }
    Ok(match version {
        Version::One => all.into(),
        _ => json!({ "info": all, "storeDir": store_dir.as_str(), "version": version.number() }),
    })
}
