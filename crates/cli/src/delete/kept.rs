//! Why paths were not deleted, for people and for programs.

use std::collections::BTreeSet;

use local_store::{Keeper, Kept, Link, LocalStore, Root, Tie};
use serde_json::{Value, json};
use store_path::StorePath;

use crate::root_text;
use crate::session::Session;

/// So many paths are explained in a refusal.
const MOST: usize = 3;

/// Says why nothing was deleted, and what to do.
pub(super) fn refusal(session: &Session, store: &LocalStore, kept: &[Kept]) -> String {
    let mut paragraphs: Vec<String> =
        kept.iter().take(MOST).map(|kept| text(session, store, kept, "cannot delete")).collect();
    match kept.len().saturating_sub(MOST) {
        0 => {}
        1 => paragraphs.push("1 more path is wanted".to_owned()),
        more => paragraphs.push(format!("{more} more paths are wanted")),
    }
    if kept.len() > 1 {
        paragraphs.push("`--skip-alive` leaves out what is wanted, and deletes the rest".to_owned());
    }
    paragraphs.join("\n")
}

/// Says why a path was not deleted.
pub(super) fn text(session: &Session, store: &LocalStore, kept: &Kept, intro: &str) -> String {
    let path = store.store_dir().print(&kept.path);
    if let Some(referrer) = &kept.referrer {
        return format!("{intro} `{path}`: `{}` refers to it", store.store_dir().print(referrer));
    }
    let mut lines = vec![format!("{intro} `{path}`, which is wanted")];
    for keeper in &kept.keepers {
        lines.push(format!("  by {}", keeper.root));
        lines.extend(chain(store, keeper));
    }
    match kept.others {
        0 => {}
        1 => lines.push("  and by 1 other root".to_owned()),
        others => lines.push(format!("  and by {others} other roots")),
    }
    let roots: BTreeSet<&Root> = kept.keepers.iter().map(|keeper| &keeper.root).collect();
    let remedies: BTreeSet<String> =
        roots.into_iter().filter_map(|root| root_text::remedy(session, root)).collect();
    lines.extend(remedies.into_iter().map(|remedy| format!("  {remedy}")));
    lines.extend(without(kept).map(|setting| format!("  `--option {setting} false` does not count that")));
    lines.join("\n")
}

/// Returns a setting without which nothing would keep the path.
fn without(kept: &Kept) -> Option<&'static str> {
    let is_all = |setting: &&str| {
        kept.others == 0 && kept.keepers.iter().all(|keeper| settings(keeper).contains(setting))
    };
    kept.keepers.first().map(settings)?.into_iter().find(is_all)
}

/// Returns the settings that make a root keep the path.
fn settings(keeper: &Keeper) -> BTreeSet<&'static str> {
    keeper.chain.iter().filter_map(|link| setting(link.tie?)).collect()
}

fn setting(tie: Tie) -> Option<&'static str> {
    match tie {
        Tie::Reference => None,
        Tie::Derivation => Some("keep-derivations"),
        Tie::Output => Some("keep-outputs"),
    }
}

/// Returns the paths between root and path, none if that is a root by itself.
fn chain(store: &LocalStore, keeper: &Keeper) -> Vec<String> {
    if keeper.chain.len() == 1 {
        return Vec::new();
    }
    let line = |(depth, link): (usize, &Link)| {
        let arrow = if depth == 0 { "" } else { "→ " };
        let path = store.store_dir().print(&link.path);
        format!("    {}{arrow}{path}{}", "  ".repeat(depth.saturating_sub(1)), tied(link.tie))
    };
    keeper.chain.iter().enumerate().map(line).collect()
}

fn tied(tie: Option<Tie>) -> &'static str {
    match tie {
        None | Some(Tie::Reference) => "",
        Some(Tie::Derivation) => " (its derivation, see `keep-derivations`)",
        Some(Tie::Output) => " (its output, see `keep-outputs`)",
    }
}

/// Returns what was deleted and what was not.
pub(super) fn json(store: &LocalStore, deleted: &BTreeSet<StorePath>, kept: &[Kept]) -> Value {
    let full = |path: &StorePath| Value::from(store.store_dir().print(path));
    let keeper = |keeper: &Keeper| {
        json!({
            "root": root_text::json(store.store_dir(), &keeper.root),
            "chain": keeper.chain.iter().map(|link| full(&link.path)).collect::<Vec<_>>(),
            "settings": settings(keeper),
        })
    };
    let kept = kept.iter().map(|kept| {
        json!({
            "path": full(&kept.path),
            "roots": kept.keepers.iter().map(keeper).collect::<Vec<_>>(),
            "otherRoots": kept.others,
            "referrer": kept.referrer.as_ref().map(full),
        })
    });
    let deleted: Vec<Value> = deleted.iter().map(full).collect();
    json!({ "deleted": deleted, "kept": kept.collect::<Vec<_>>() })
}
