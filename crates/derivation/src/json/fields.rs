//! Taking JSON apart while keeping track of where in it one is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{JsonError, Place, Problem};

/// A problem, and the names that lead to it, innermost first: they are added on the way out.
#[derive(Debug)]
pub(super) struct Wrong {
    problem: Problem,
    names: Vec<String>,
}

impl Wrong {
    /// Says that the place is in a field of what the caller reads.
    pub(super) fn inside(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    pub(super) fn of(mut self, derivation: Option<&str>) -> JsonError {
        self.names.reverse();
        let place = Place { derivation: derivation.map(str::to_owned), field: self.names };
        JsonError::Field { place, problem: self.problem }
    }
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Self { problem, names: Vec::new() }
    }
}

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
        match self.0.keys().next() {
            Some(name) => Err(Wrong::from(Problem::Unknown).inside(name)),
            None => Ok(()),
        }
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
    let item = |(index, item)| read(item).map_err(|wrong| wrong.inside(&format!("{index}")));
    items.into_iter().enumerate().map(item).collect()
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
    mut key: impl FnMut(String) -> Result<K, Wrong>,
    mut read: impl FnMut(&K, Value) -> Result<V, Wrong>,
) -> Result<BTreeMap<K, V>, Wrong> {
    let mut map = BTreeMap::new();
    let Value::Object(fields) = value else { return Err(wrong_kind("an object", &value)) };
    for (name, value) in fields {
        let inside = |wrong: Wrong| wrong.inside(&name);
        let read_key = key(name.clone()).map_err(inside)?;
        let value = read(&read_key, value).map_err(inside)?;
        // Two spellings of one path.
        if map.insert(read_key, value).is_some() {
            return Err(inside(Problem::Twice.into()));
        }
    }
    Ok(map)
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
