//! `store derivation options`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use derivation::{Object, Options, OutputCheck, OutputChecks, Reference};
use store_path::StoreDir;

use crate::build_failure::harmless;
use crate::exit::Exit;
use crate::sandbox_show;
use crate::session::Session;

/// Prints what a derivation asks of whoever builds it, as it was read from its attributes.
///
/// Without `--json`, only what differs from the default, by the names of the attributes. With it, everything, in the
/// form that Nix calls `derivation-options-v1`. `__sandboxProfile` and `__darwinAllowLocalNetworking` are for macOS.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  store derivation options hello.json\n  \
                        store derivation options --json /nix/store/…-hello.drv")]
pub(crate) struct Args {
    /// A derivation: a store path, a recipe, or a file with derivations of which one is used by no other there.
    #[arg(value_name = "DRV|FILE")]
    target: PathBuf,
}

/// Runs the command.
pub(crate) fn run(session: &mut Session, args: &Args) -> Result<Exit> {
    let store = session.read_or_make_store()?;
    let mut found = sandbox_show::find(session, &store, &session.absolute(Path::new(&args.target)))?;
    let derivation = match found.derivations.remove(&found.drv) {
        Some(derivation) => derivation,
        None => engine::read_derivation(&store, &found.drv)?,
    };
    let unreadable = || format!("cannot read what `{}` asks of its builder", found.drv);
    let options = derivation.options(store.store_dir()).with_context(unreadable)?;
    for warning in &options.warnings {
        session.messages().warn(format!("of `{}`, {warning}", found.drv));
    }
    options.check_outputs(&derivation).with_context(unreadable)?;
    if session.json() {
        let value = options.to_json().with_context(unreadable)?;
        session.results().json(&value)?;
        return Ok(Exit::Success);
    }
    for line in lines(&options, store.store_dir()) {
        session.results().line(harmless(&line))?;
    }
    Ok(Exit::Success)
}

/// What differs from the default, a line each.
fn lines(options: &Options, store_dir: &StoreDir) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    if options.structured_attrs.is_some() {
        say("__structuredAttrs", "true".to_owned());
    }
    for (name, value, default) in [
        ("__noChroot", options.no_chroot, false),
        ("__darwinAllowLocalNetworking", options.allow_local_networking, false),
        ("preferLocalBuild", options.prefer_local_build, false),
        ("allowSubstitutes", options.allow_substitutes, true),
    ] {
        if value != default {
            say(name, value.to_string());
        }
    }
    for (name, words) in [
        ("requiredSystemFeatures", &options.required_system_features),
        ("passAsFile", &options.pass_as_file),
        ("impureEnvVars", &options.impure_env_vars),
        ("__impureHostDeps", &options.impure_host_deps),
    ] {
        if !words.is_empty() {
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            say(name, words.join(" "));
        }
    }
    if !options.sandbox_profile.is_empty() {
        say("__sandboxProfile", String::from_utf8_lossy(&options.sandbox_profile).into_owned());
    }
    for export in &options.exports {
        let roots: Vec<_> = export.roots.iter().map(|root| object(root, store_dir)).collect();
        say(&format!("exportReferencesGraph.{}", String::from_utf8_lossy(&export.name)), roots.join(" "));
    }
    for (output, discards) in &options.unsafe_discard_references {
        say(&format!("unsafeDiscardReferences.{output}"), discards.to_string());
    }
    match &options.output_checks {
        OutputChecks::All(check) => check_lines("", check, store_dir, &mut lines),
        OutputChecks::Each(checks) => {
            for (output, check) in checks {
                check_lines(&format!("outputChecks.{output}."), check, store_dir, &mut lines);
            }
        }
    }
    if lines.is_empty() {
        lines.push("# nothing beyond the defaults".to_owned());
    }
    lines
}

fn check_lines(before: &str, check: &OutputCheck, store_dir: &StoreDir, lines: &mut Vec<String>) {
    for (name, size) in [("maxSize", check.max_size), ("maxClosureSize", check.max_closure_size)] {
        lines.extend(size.map(|size| format!("{before}{name} = {size}")));
    }
    let forbidden = |list: &'_ BTreeSet<Reference>| (!list.is_empty()).then(|| list.clone());
    for (name, list) in [
        ("allowedReferences", check.allowed_references.clone()),
        ("allowedRequisites", check.allowed_requisites.clone()),
        ("disallowedReferences", forbidden(&check.disallowed_references)),
        ("disallowedRequisites", forbidden(&check.disallowed_requisites)),
    ] {
        let Some(list) = list else { continue };
        let words: Vec<String> = list.iter().map(|one| reference(one, store_dir)).collect();
        lines.push(match words.is_empty() {
            // Which is not the same as no rule.
            true => format!("{before}{name} = (nothing)"),
            false => format!("{before}{name} = {}", words.join(" ")),
        });
    }
}

fn reference(reference: &Reference, store_dir: &StoreDir) -> String {
    match reference {
        Reference::Own(output) => output.to_string(),
        Reference::Other(other) => object(other, store_dir),
    }
}

fn object(object: &Object, store_dir: &StoreDir) -> String {
    match object {
        Object::Path(path) => store_dir.print(path),
        Object::Output(link) => {
            let names: Vec<String> =
                link.through.iter().chain([&link.output]).map(|name| format!("^{name}")).collect();
            format!("{}{}", store_dir.print(&link.drv), names.concat())
        }
    }
}
