//! The table of settings in `README.md`, which is the table of settings in the code.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result};
use settings::Settings;

use crate::cargo;

const START: &str = "<!-- settings: `cargo xtask bless` writes this table -->\n";
const END: &str = "<!-- end of settings -->";

/// Complains if the page tells something else than the code.
pub(crate) fn complaints() -> Result<Vec<String>> {
    let page = read()?;
    let same = page == with_table(&page)?;
    let complaint = "readme: the settings in `README.md` are not those of the code; run `cargo xtask bless`";
    Ok(if same { Vec::new() } else { vec![complaint.to_owned()] })
}

/// Writes the table into the page.
pub(crate) fn bless() -> Result<()> {
    let page = read()?;
    fs::write(cargo::root().join("README.md"), with_table(&page)?).context("cannot write `README.md`")
}

fn read() -> Result<String> {
    fs::read_to_string(cargo::root().join("README.md")).context("cannot read `README.md`")
}

fn with_table(page: &str) -> Result<String> {
    let (before, rest) = page.split_once(START).context("`README.md` has no start of the settings table")?;
    let (_, after) = rest.split_once(END).context("`README.md` has no end of the settings table")?;
    Ok(format!("{before}{START}{}{END}{after}", table()))
}

fn table() -> String {
    let mut table = String::from("| setting | takes | default | what for |\n|---|---|---|---|\n");
    for entry in settings::entries(&Settings::default()) {
        let names: Vec<String> =
            [entry.key].iter().chain(entry.aliases).map(|name| format!("`{name}`")).collect();
        let default = if entry.default.is_empty() { "".to_owned() } else { format!("`{}`", entry.default) };
        let row = [names.join(", "), entry.kind.to_owned(), default, entry.help.to_owned()];
        // A bar would end the cell.
        let row = row.map(|cell| cell.replace('|', "\\|")).join(" | ");
        writeln!(table, "| {row} |").expect("a string takes every line");
    }
    table
}
