//! The outermost object of a file: one derivation, or many.
//!
//! A whole package set is hundreds of megabytes of JSON, so each derivation is made from its part as soon as that
//! has been read.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use store_path::{StoreDir, StorePath};

use super::fields::Wrong;
use super::read::{Context, check_version};
use super::{JsonError, Problem};
use crate::Derivation;

/// Reads a file of derivations, each with the path that the file gives it, if any.
///
/// In what is returned, an output whose path was left out is [`crate::Output::Deferred`]; the paths of fixed
/// outputs are computed. Nothing else is held against any rule; see [`crate::check_closure`].
pub fn parse(json: &[u8], store_dir: &StoreDir) -> Result<Vec<(Option<StorePath>, Derivation)>, JsonError> {
    let mut file = File {
        context: Context { store_dir },
        found: Vec::new(),
        seen: HashSet::new(),
        is_wrapped: false,
        rest: Map::new(),
        wrong: None,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let end = deserializer.deserialize_map(Level { file: &mut file, is_inner: false });
    if let Some(wrong) = file.wrong {
        return Err(wrong);
    }
    end?;
    deserializer.end()?;
    file.finish()
}

/// What has been read so far.
struct File<'a> {
    context: Context<'a>,
    found: Vec<(Option<StorePath>, Derivation)>,
    seen: HashSet<StorePath>,
    /// Whether the derivations are inside a field `derivations`.
    is_wrapped: bool,
    /// The fields that are not derivations, but maybe those of one.
    rest: Map<String, Value>,
    /// What ended the reading, for which serde has no place.
    wrong: Option<JsonError>,
}

impl File<'_> {
    fn add(&mut self, key: &str, value: Value) -> Result<(), JsonError> {
        let (path, derivation) =
            self.context.derivation(Some(key), value).map_err(|wrong| wrong.of(Some(key)))?;
        if let Some(path) = &path
            && !self.seen.insert(path.clone())
        {
            return Err(Wrong::from(Problem::Twice).of(Some(key)));
        }
        self.found.push((path, derivation));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(Option<StorePath>, Derivation)>, JsonError> {
        if self.is_wrapped {
            let version = self.rest.swap_remove("version");
            check_version(version, &[4]).map_err(|wrong| wrong.inside("version").of(None))?;
        }
        if self.rest.is_empty() {
            return Ok(self.found);
        }
        if let (true, Some(name)) = (self.is_wrapped || !self.found.is_empty(), self.rest.keys().next()) {
            return Err(Wrong::from(Problem::Unknown).inside(name).of(None));
        }
        let single = self.context.derivation(None, Value::Object(self.rest));
        Ok(vec![single.map_err(|wrong| wrong.of(None))?])
    }
}

/// An object of derivations, which may be the value of `derivations`.
struct Level<'a, 'b> {
    file: &'a mut File<'b>,
    is_inner: bool,
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object that is a derivation or whose fields are")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.is_inner || key.starts_with('/') || key.ends_with(".drv") {
                let value = map.next_value()?;
                if let Err(wrong) = self.file.add(&key, value) {
                    self.file.wrong = Some(wrong);
                    return Err(A::Error::custom("a field is wrong"));
                }
            } else if key == "derivations" {
                self.file.is_wrapped = true;
                map.next_value_seed(Level { file: self.file, is_inner: true })?;
            } else {
                let value = map.next_value()?;
                self.file.rest.insert(key, value);
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}
