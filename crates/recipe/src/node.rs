//! JSON whose parts know where in the text they are.
//!
//! Each part is a piece of the text that has been found to be JSON, and is only taken apart when it is asked for. So
//! what nobody asks for is never walked into, however deep it is.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Place, Problem, RecipeError, nearest};

/// A place in a text, as it costs nothing to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    offset: usize,
    pointer: String,
}

impl Spot {
    /// Returns the line and the column, for which all of the text before has to be looked at.
    pub(crate) fn place(&self, text: &str) -> Place {
        let before = text.get(..self.offset).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
        Place { line, column, pointer: self.pointer.clone() }
    }
}

/// One value in a text.
#[derive(Clone)]
pub(crate) struct Node<'text> {
    /// The whole text.
    text: &'text str,
    /// The value's part of it.
    part: &'text str,
    pointer: String,
}

impl<'text> Node<'text> {
    /// Reads a text that is one JSON value.
    pub(crate) fn parse(text: &'text str) -> Result<Self, RecipeError> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Self { text, part: raw.get(), pointer: String::new() }),
            Err(error) => {
                let place = Place { line: error.line(), column: error.column(), pointer: String::new() };
                Err(RecipeError { place, problem: Problem::Syntax { reason: reason(&error) } })
            }
        }
    }

    /// Returns where it is.
    pub(crate) fn spot(&self) -> Spot {
        // `part` is a piece of `text`, so the difference of their addresses is a position in it.
        let offset = self.part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        Spot { offset, pointer: self.pointer.clone() }
    }

    pub(crate) fn wrong(&self, problem: Problem) -> RecipeError {
        RecipeError { place: self.spot().place(self.text), problem }
    }

    fn below(&self, part: &'text str, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self { text: self.text, part, pointer: format!("{}/{name}", self.pointer) }
    }

    /// Reads the value; whoever asks knows of which kind it is.
    pub(crate) fn value<T: Deserialize<'text>>(&self) -> Result<T, RecipeError> {
        serde_json::from_str(self.part)
            .map_err(|error| self.wrong(Problem::Syntax { reason: reason(&error) }))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.part.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::Text,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub(crate) fn wrong_kind(&self, expected: &'static str) -> RecipeError {
        self.wrong(Problem::Kind { expected, found: self.kind().describe() })
    }

    pub(crate) fn string(&self) -> Result<String, RecipeError> {
        match self.kind() {
            Kind::Text => self.value(),
            _ => Err(self.wrong_kind("a text in double quotes")),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, RecipeError> {
        match self.kind() {
            Kind::Boolean => self.value(),
            _ => Err(self.wrong_kind("true or false")),
        }
    }

    pub(crate) fn list(&self) -> Result<Vec<Self>, RecipeError> {
        if self.kind() != Kind::List {
            return Err(self.wrong_kind("a list"));
        }
        let items: Vec<&'text RawValue> = self.value()?;
        let items = items.into_iter().enumerate();
        Ok(items.map(|(index, item)| self.below(item.get(), &index.to_string())).collect())
    }

    /// Returns the fields of an object, all of which differ, in the order of the text.
    pub(crate) fn fields(&self) -> Result<Vec<Field<'text>>, RecipeError> {
        if self.kind() != Kind::Object {
            return Err(self.wrong_kind("an object"));
        }
        let pairs: Pairs<'text> = self.value()?;
        let mut seen = BTreeSet::new();
        let mut fields = Vec::with_capacity(pairs.0.len());
        for (key, value) in pairs.0 {
            let key = Self { text: self.text, part: key.get(), pointer: String::new() };
            let name = key.string()?;
            let value = self.below(value.get(), &name);
            let key = Self { pointer: value.pointer.clone(), ..key };
            if !seen.insert(name.clone()) {
                return Err(key.wrong(Problem::Twice { name }));
            }
            fields.push(Field { name, key, value });
        }
        Ok(fields)
    }

    /// Returns the fields of an object that has only fields of certain names.
    pub(crate) fn known_fields(&self, known: &[&str]) -> Result<Fields<'text>, RecipeError> {
        let fields = self.fields()?;
        if let Some(field) = fields.iter().find(|field| !known.contains(&&*field.name)) {
            let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
            let name = field.name.clone();
            return Err(field.key.wrong(Problem::Unknown {
                nearest: nearest(&name, &known),
                field: name,
                known,
            }));
        }
        Ok(Fields { whole: self.clone(), fields })
    }
}

/// A field: its name, where that is, and its value.
pub(crate) struct Field<'text> {
    pub(crate) name: String,
    pub(crate) key: Node<'text>,
    pub(crate) value: Node<'text>,
}

/// An object that has fields of known names.
pub(crate) struct Fields<'text> {
    whole: Node<'text>,
    fields: Vec<Field<'text>>,
}

impl<'text> Fields<'text> {
    pub(crate) fn get(&self, name: &str) -> Option<&Node<'text>> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<&Node<'text>, RecipeError> {
        self.get(name).ok_or_else(|| self.whole.wrong(Problem::Missing { field: name }))
    }

    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Node<'text>) -> Result<T, RecipeError>,
    ) -> Result<Option<T>, RecipeError> {
        self.get(name).map(read).transpose()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    List,
    Text,
    Number,
    Boolean,
    Null,
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::Null => "null",
        }
    }
}

/// The fields of an object as they stand in the text, twice-given ones included.
struct Pairs<'text>(Vec<(&'text RawValue, &'text RawValue)>);

impl<'de: 'text, 'text> Deserialize<'de> for Pairs<'text> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(All).map(Pairs)
    }
}

/// Returns what the parser says, without the place, which is that of a part.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}
