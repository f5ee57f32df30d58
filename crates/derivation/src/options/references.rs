//! What attributes name: paths, outputs by their names, outputs by placeholders.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use store_path::{StoreDir, StoreDirError, placeholder};

use super::{Object, OptionError, Reference};
use crate::{Derivation, Link, OutputName};

/// Reads them for one derivation.
pub(super) struct References<'a> {
    derivation: &'a Derivation,
    store_dir: &'a StoreDir,
    /// What stands for outputs of inputs. Most derivations never ask.
    links: OnceCell<HashMap<String, Link>>,
}

impl<'a> References<'a> {
    pub(super) fn of(derivation: &'a Derivation, store_dir: &'a StoreDir) -> Self {
        Self { derivation, store_dir, links: OnceCell::new() }
    }

    /// Reads what a rule names; `attribute` is the rule.
    pub(super) fn read(
        &self,
        attribute: &str,
        items: &[Vec<u8>],
    ) -> Result<BTreeSet<Reference>, OptionError> {
        items.iter().map(|item| self.reference(attribute, item)).collect()
    }

    fn reference(&self, attribute: &str, item: &[u8]) -> Result<Reference, OptionError> {
        if let Ok(path) = self.store_dir.parse(item) {
            return Ok(Reference::Other(Object::Path(path)));
        }
        if let Some(output) = self.own(item) {
            return Ok(Reference::Own(output));
        }
        if let Some(link) = self.link(item) {
            return Ok(Reference::Other(Object::Output(link)));
        }
        // Whether there is such an output is asked when it is to be built, as in Nix.
        let name = std::str::from_utf8(item).ok().and_then(|name| name.parse().ok());
        name.map(Reference::Own).ok_or_else(|| OptionError::Reference {
            attribute: attribute.to_owned(),
            found: String::from_utf8_lossy(item).into_owned(),
        })
    }

    /// Reads the object that something is in or below.
    pub(super) fn object(&self, item: &[u8]) -> Result<Object, StoreDirError> {
        let outside = match self.store_dir.split(item) {
            Ok((path, _)) => return Ok(Object::Path(path)),
            Err(outside) => outside,
        };
        // A placeholder begins with the only `/` that it has.
        let end = item.iter().skip(1).position(|byte| *byte == b'/').map_or(item.len(), |end| end + 1);
        self.link(&item[..end]).map(Object::Output).ok_or(outside)
    }

    fn own(&self, item: &[u8]) -> Option<OutputName> {
        let mut outputs = self.derivation.outputs.keys();
        let is_meant = |name: &&OutputName| placeholder(name.as_str()).as_bytes() == item;
        item.starts_with(b"/").then(|| outputs.find(is_meant).cloned()).flatten()
    }

    fn link(&self, item: &[u8]) -> Option<Link> {
        let text = std::str::from_utf8(item).ok().filter(|text| text.starts_with('/'))?;
        let links = self.links.get_or_init(|| {
            let links = self.derivation.links().into_iter();
            links.map(|link| (link.placeholder().to_string(), link)).collect()
        });
        links.get(text).cloned()
    }
}
