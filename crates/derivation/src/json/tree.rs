//! One value of a file, within bounds.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// As many values one derivation may consist of. The largest known have some ten thousands; in memory each takes
/// a multiple of what it takes in the file.
const MOST_VALUES: usize = 1_000_000;

/// What is noted while a value is read.
#[derive(Debug)]
pub(super) struct Notes {
    /// How many more values there may be.
    left: usize,
    /// The names that lead to fields that were there twice, innermost first.
    pub(super) twice: Vec<Vec<String>>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { left: MOST_VALUES, twice: Vec::new() }
    }
}

impl Notes {
    /// Reads what is inside, and adds the name of where it is to the places noted there.
    pub(super) fn inside<T>(&mut self, read: impl FnOnce(Tree<'_>) -> T, name: impl Fn() -> String) -> T {
        let before = self.twice.len();
        let read = read(Tree(self));
        self.twice[before..].iter_mut().for_each(|names| names.push(name()));
        read
    }
}

/// Reads a value, no deeper than the parser lets it be.
pub(super) struct Tree<'a>(pub(super) &'a mut Notes);

impl Tree<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        let left = self.0.left.checked_sub(1);
        let too_many = || E::custom(format_args!("a derivation of more than {MOST_VALUES} values"));
        self.0.left = left.ok_or_else(too_many)?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let mut next = |index: usize| self.0.inside(|tree| seq.next_element_seed(tree), || index.to_string());
        while let Some(item) = next(items.len())? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = self.0.inside(|tree| map.next_value_seed(tree), || name.clone())?;
            if fields.contains_key(&name) {
                self.0.twice.push(vec![name]);
            } else {
                fields.insert(name, value);
            }
        }
        Ok(Value::Object(fields))
    }
}
