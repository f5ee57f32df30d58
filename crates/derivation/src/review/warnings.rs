//! What is not wrong, but probably not meant.
//!
//! Each function looks at one thing and returns a remark that is no error; [`of`] asks them all.

use store_path::{StoreDir, StorePath};

use super::spot::{At, Spot};
use super::{Remark, Source, SourceForm};
use crate::check::Settled;
use crate::model::Bytes;
use crate::{Derivation, Disagreement, Elsewhere, Output, OutputName, aterm};

/// What is known of a derivation before its paths are filled in.
pub(super) struct Before {
    /// Outputs without a path, and whether they have a variable.
    open: Vec<(OutputName, bool)>,
}

impl Before {
    pub(super) fn of<B: Bytes>(derivation: &Derivation<B>) -> Self {
        let open = derivation.outputs.iter().filter(|(_, output)| **output == Output::Deferred);
        let has_variable = |name: &OutputName| derivation.env.contains_key(name.as_str().as_bytes());
        Self { open: open.map(|(name, _)| (name.clone(), has_variable(name))).collect() }
    }
}

/// Returns all warnings about a derivation that is right.
pub(super) fn of<'s, B>(
    path: Option<&'s StorePath>,
    before: &'s Before,
    settled: &'s Settled<'_, B>,
    store_dir: &'s StoreDir,
) -> impl Iterator<Item = Remark> + 's {
    let open = before.open.iter().filter_map(move |(name, has_variable)| {
        let full = store_dir.print(settled.derivation.outputs[name].path()?);
        let mut message = format!("its output `{name}` has no path, but could have: `{full}`");
        // Nix hashes without the variable and sets it afterwards, so that it gets another path each time it looks.
        if !has_variable {
            message += &format!(
                "; it has no variable `{name}` either, from which Nix computes a path that it refuses later: \
                 put `\"{name}\": \"\"` into `env`"
            );
        }
        let at = At::Part(path.cloned(), Spot::Output(name.clone()));
        Some(Remark { is_error: false, at, message })
    });
    collision(path, &settled.elsewhere, store_dir).into_iter().chain(open)
}

/// Warns of paths that are others with some releases of Nix, as they drop inputs that have the hash of another one.
fn collision(path: Option<&StorePath>, elsewhere: &[Elsewhere], store_dir: &StoreDir) -> Option<Remark> {
    let is_collision = |theirs: &&Elsewhere| theirs.disagreement == Disagreement::Collision;
    let theirs = elsewhere.iter().find(is_collision)?;
    let paths = theirs.outputs.iter().map(|(name, path)| format!("`{name}`: `{}`", store_dir.print(path)));
    let message = format!(
        "some of its inputs have the same hash, of which {} keep one; there its outputs have other paths, as has all \
         that is built from them: {}",
        theirs.disagreement.releases(),
        paths.collect::<Vec<_>>().join(", ")
    );
    Some(Remark { is_error: false, at: At::Part(path.cloned(), Spot::Whole), message })
}

/// Warns of a `.drv` file that is not as it would be printed: its path is made from the bytes.
///
/// Reads it once more, since few files have to be asked about.
pub(super) fn other_bytes(source: &Source<'_>, store_dir: &StoreDir) -> Option<Remark> {
    let SourceForm::Aterm { name, .. } = &source.form else { return None };
    let printed = aterm::print(&aterm::parse(source.text, store_dir, name).ok()?, store_dir);
    let same = source.text.iter().zip(&printed).take_while(|(left, right)| left == right).count();
    let message = "from here on it is not written as Nix writes it: the order, an escape or a hash differs";
    (printed != source.text).then(|| Remark {
        is_error: false,
        at: At::Offset(same),
        message: message.to_owned(),
    })
}
