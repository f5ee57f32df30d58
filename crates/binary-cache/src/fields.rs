//! Taking JSON apart while keeping track of where in it one is.

use serde_json::{Map, Value};
use store_path::{ContentAddressError, HashError, StoreDir, StoreDirError, StorePath, StorePathError};

/// JSON that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {}", place(.field))]
pub struct JsonError {
    /// The names to follow from the outermost value on.
    pub field: Vec<String>,
    /// What is wrong there.
    #[source]
    pub problem: Problem,
}

fn place(field: &[String]) -> String {
    if field.is_empty() { "the value".to_owned() } else { format!("the field `{}`", field.join(".")) }
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value of another kind.
    #[error("it should be {expected}")]
    Kind {
        /// What it should be.
        expected: &'static str,
    },
    /// It has to be there.
    #[error("it is missing")]
    Missing,
    /// A format of another time.
    #[error("there is no version {found} of this format, only {known}")]
    Version {
        /// The version it claims.
        found: u64,
        /// Those there are.
        known: &'static str,
    },
    /// It is about another store.
    #[error("it is `{found}`, but this store's directory is `{store_dir}`")]
    OtherStore {
        /// The directory it states.
        found: String,
        /// The directory asked for.
        store_dir: StoreDir,
    },
    /// A signature in the newer form says which key made it.
    #[error("the signature `{text}` names no key")]
    NoKey {
        /// The signature.
        text: String,
    },
    /// Not a hash.
    #[error("cannot read the hash")]
    Hash(#[from] HashError),
    /// Not a full path in this store.
    #[error("cannot read the store path")]
    Path(#[from] StoreDirError),
    /// Not the last component of a path in a store.
    #[error("cannot read the store path")]
    BasePath(#[from] StorePathError),
    /// Not a content address, or not a way to make one.
    #[error("cannot read the content address")]
    ContentAddress(#[from] ContentAddressError),
}

impl<P: Into<Problem>> From<P> for JsonError {
    fn from(problem: P) -> Self {
        Self { field: Vec::new(), problem: problem.into() }
    }
}

impl JsonError {
    /// Says that the place is in a field of what the caller reads.
    #[must_use]
    pub(crate) fn inside(mut self, name: &str) -> Self {
        self.field.insert(0, name.to_owned());
        self
    }
}

pub(crate) type Read<T> = Result<T, JsonError>;

pub(crate) fn object(value: &Value) -> Read<&Map<String, Value>> {
    value.as_object().ok_or_else(|| kind("an object"))
}

/// Reads a field that may be absent or null.
pub(crate) fn optional<'json, T>(
    object: &'json Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'json Value) -> Read<T>,
) -> Read<Option<T>> {
    let value = object.get(name).filter(|value| !value.is_null());
    value.map(|value| read(value).map_err(|error| error.inside(name))).transpose()
}

pub(crate) fn required<'json, T>(
    object: &'json Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'json Value) -> Read<T>,
) -> Read<T> {
    optional(object, name, read)?.ok_or_else(|| JsonError::from(Problem::Missing).inside(name))
}

pub(crate) fn string(value: &Value) -> Read<&str> {
    value.as_str().ok_or_else(|| kind("a string"))
}

pub(crate) fn number(value: &Value) -> Read<u64> {
    value.as_u64().ok_or_else(|| kind("a whole number"))
}

pub(crate) fn boolean(value: &Value) -> Read<bool> {
    value.as_bool().ok_or_else(|| kind("true or false"))
}

pub(crate) fn list<'json, T>(value: &'json Value, read: impl Fn(&'json Value) -> Read<T>) -> Read<Vec<T>> {
    let items = value.as_array().ok_or_else(|| kind("a list"))?;
    let item = |(index, item)| read(item).map_err(|error| error.inside(&format!("{index}")));
    items.iter().enumerate().map(item).collect()
}

pub(crate) fn base_path(value: &Value) -> Read<StorePath> {
    Ok(string(value)?.parse::<StorePath>()?)
}

/// Reads a signature in either form: a text, or the two halves of it.
pub(crate) fn signature(value: &Value) -> Read<String> {
    let Value::Object(fields) = value else { return Ok(string(value)?.to_owned()) };
    let name = required(fields, "keyName", string)?;
    Ok(format!("{name}:{}", required(fields, "sig", string)?))
}

/// Returns the newer form of a signature.
pub(crate) fn structured_signature(text: &str) -> Result<Value, Problem> {
    let (name, digits) =
        crate::signature::split(text).ok_or_else(|| Problem::NoKey { text: text.to_owned() })?;
    Ok(serde_json::json!({ "keyName": name, "sig": digits }))
}

pub(crate) fn kind(expected: &'static str) -> JsonError {
    Problem::Kind { expected }.into()
}
