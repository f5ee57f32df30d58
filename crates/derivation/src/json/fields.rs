//! Taking JSON apart while keeping track of where in it one is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::Problem;
use super::wrong::{Tally, Wrong};

/// An object whose fields are taken out one by one.
pub(super) struct Object(Map<String, Value>);

impl Object {
    pub(super) fn new(value: Value) -> Result<Self, Wrong> {
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(wrong_kind("an object", &other)),
        }
    }

    /// Returns a field without taking it out.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Wrong> {
        let value = self.0.swap_remove(name);
        value.map(|value| read(value).map_err(|wrong| wrong.inside(name))).transpose()
    }

    pub(super) fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, Wrong>,
    ) -> Result<T, Wrong> {
        self.optional(name, read)?.ok_or_else(|| Wrong::from(Problem::Missing).inside(name))
    }

    /// Refuses what has not been taken out: it is misspelt more often than superfluous.
    pub(super) fn end(self) -> Result<(), Wrong> {
        let mut tally = Tally::default();
        for name in self.0.keys() {
            tally.take::<()>(Err(Wrong::from(Problem::Unknown).inside(name)));
        }
        tally.finish(())
    }
}

pub(super) fn string(value: Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_kind("a string", &other)),
    }
}

pub(super) fn bytes(value: Value) -> Result<Vec<u8>, Wrong> {
    string(value).map(String::into_bytes)
}

pub(super) fn boolean(value: Value) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| wrong_kind("true or false", &value))
}

pub(super) fn list<T>(
    value: Value,
    mut read: impl FnMut(Value) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    let Value::Array(items) = value else { return Err(wrong_kind("a list", &value)) };
    let mut tally = Tally::default();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        list.extend(tally.take(read(item).map_err(|wrong| wrong.inside(&index.to_string()))));
    }
    tally.finish(list)
}

/// Reads a list whose members all differ.
pub(super) fn set<T: Ord>(
    value: Value,
    mut read: impl FnMut(Value) -> Result<T, Wrong>,
) -> Result<BTreeSet<T>, Wrong> {
    let mut set = BTreeSet::new();
    list(value, |item| if set.insert(read(item)?) { Ok(()) } else { Err(Problem::Twice.into()) })?;
    Ok(set)
}

/// Reads an object whose fields are data, not known names.
pub(super) fn map<K: Ord, V>(
    value: Value,
    mut key: impl FnMut(&str) -> Result<K, Wrong>,
    mut read: impl FnMut(&K, Value) -> Result<V, Wrong>,
) -> Result<BTreeMap<K, V>, Wrong> {
    let Value::Object(fields) = value else { return Err(wrong_kind("an object", &value)) };
    let mut tally = Tally::default();
    let mut map = BTreeMap::new();
    for (name, value) in fields {
        let pair = key(&name).and_then(|key| read(&key, value).map(|value| (key, value)));
        if let Some((key, value)) = tally.take(pair.map_err(|wrong| wrong.inside(&name)))
            && map.insert(key, value).is_some()
        {
            // Two spellings of one path.
            tally.take::<()>(Err(Wrong::from(Problem::Twice).inside(&name)));
        }
    }
    tally.finish(map)
}

pub(super) fn wrong_kind(expected: &'static str, found: &Value) -> Wrong {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Problem::Kind { expected, found }.into()
}
