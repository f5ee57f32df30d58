//! Texts with `${…}` in them, which stands for a path.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::MAX_DEPTH;
use crate::error::{Problem, RecipeError, nearest};
use crate::node::{Kind, Node, Spot};

/// A text, in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Reference(Reference),
}

/// What stands between `${` and `}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) target: Target,
    /// Where the text begins that it stands in.
    pub(crate) spot: Spot,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An output of the recipe itself.
    Own(String),
    /// An input, and which of its outputs.
    Input { name: String, output: Option<String> },
}

/// What can stand between `${` and `}`.
pub(crate) struct Scope {
    pub(crate) inputs: BTreeSet<String>,
    pub(crate) outputs: BTreeSet<String>,
}

impl Scope {
    fn find(&self, name: &str) -> Option<Target> {
        if self.outputs.contains(name) {
            return Some(Target::Own(name.to_owned()));
        }
        // An output's name may have dots in it, an input's has none.
        let (name, output) = match name.split_once('.') {
            Some((name, output)) => (name, Some(output.to_owned())),
            None => (name, None),
        };
        self.inputs.contains(name).then(|| Target::Input { name: name.to_owned(), output })
    }

    fn unknown(&self, name: &str) -> Problem {
        let known: Vec<String> = self.inputs.iter().chain(&self.outputs).cloned().collect();
        Problem::Reference { name: name.to_owned(), nearest: nearest(name, &known), known }
    }
}

impl Template {
    pub(crate) fn read(node: &Node<'_>, scope: &Scope) -> Result<Self, RecipeError> {
        let text = node.string()?;
        if text.contains('\0') {
            return Err(node.wrong(Problem::Nul));
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = &*text;
        while let Some(dollar) = rest.find('$') {
            let (before, here) = rest.split_at(dollar);
            plain.push_str(before);
            if let Some(after) = here.strip_prefix("$${") {
                plain.push_str("${");
                rest = after;
            } else if let Some(after) = here.strip_prefix("${") {
                let (name, after) = after.split_once('}').ok_or_else(|| node.wrong(Problem::Unclosed))?;
                let target = scope.find(name).ok_or_else(|| node.wrong(scope.unknown(name)))?;
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Reference(Reference { target, spot: node.spot() }));
                rest = after;
            } else {
                plain.push('$');
                rest = &here[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Whether it can be a path from the root on.
    pub(crate) fn begins_at_root(&self) -> bool {
        match self.0.first() {
            Some(Piece::Text(plain)) => plain.starts_with('/'),
            Some(Piece::Reference(_)) => true,
            None => false,
        }
    }

    /// Returns the text, with what `find` says in the place of each `${…}`.
    pub(crate) fn fill<E>(
        &self,
        find: &mut impl FnMut(&Reference) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Reference(reference) => text.push_str(&find(reference)?),
            }
        }
        Ok(text)
    }
}

/// A structured attribute: any JSON, with templates for texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    Text(Template),
    List(Vec<Attribute>),
    Object(BTreeMap<String, Attribute>),
    Other(Value),
}

impl Attribute {
    /// Recursive, but no deeper than `depth_left`.
    pub(crate) fn read(node: &Node<'_>, scope: &Scope, depth_left: usize) -> Result<Self, RecipeError> {
        let Some(depth_left) = depth_left.checked_sub(1) else { return Err(node.wrong(Problem::TooLarge)) };
        Ok(match node.kind() {
            Kind::Text => Self::Text(Template::read(node, scope)?),
            Kind::List => {
                let items = node.list()?;
                Self::List(
                    items.iter().map(|item| Self::read(item, scope, depth_left)).collect::<Result<_, _>>()?,
                )
            }
            Kind::Object => Self::Object(Self::read_fields(node, scope, depth_left)?),
            Kind::Number | Kind::Boolean | Kind::Null => Self::Other(node.value()?),
        })
    }

    /// Reads the outermost object.
    pub(crate) fn read_all(node: &Node<'_>, scope: &Scope) -> Result<BTreeMap<String, Self>, RecipeError> {
        Self::read_fields(node, scope, MAX_DEPTH)
    }

    fn read_fields(
        node: &Node<'_>,
        scope: &Scope,
        depth_left: usize,
    ) -> Result<BTreeMap<String, Self>, RecipeError> {
        let fields = node.fields()?.into_iter();
        fields.map(|field| Ok((field.name, Self::read(&field.value, scope, depth_left)?))).collect()
    }

    pub(crate) fn fill<E>(&self, find: &mut impl FnMut(&Reference) -> Result<String, E>) -> Result<Value, E> {
        Ok(match self {
            Self::Text(template) => template.fill(find)?.into(),
            Self::List(items) => {
                Value::Array(items.iter().map(|item| item.fill(find)).collect::<Result<_, _>>()?)
            }
            Self::Object(fields) => Value::Object(Self::fill_all(fields, find)?),
            Self::Other(value) => value.clone(),
        })
    }

    pub(crate) fn fill_all<E>(
        fields: &BTreeMap<String, Self>,
        find: &mut impl FnMut(&Reference) -> Result<String, E>,
    ) -> Result<Map<String, Value>, E> {
        fields.iter().map(|(name, field)| Ok((name.clone(), field.fill(find)?))).collect()
    }
}
