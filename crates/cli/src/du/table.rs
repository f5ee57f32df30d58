//! What paths take as a table, for people.

use std::io;

use store_path::StoreDir;

use super::{Row, Total};
use crate::results::Results;
use crate::size;

/// Prints a line for each path below the titles; and one for all, if there are several.
pub(super) fn print(
    results: &mut Results,
    store_dir: &StoreDir,
    in_bytes: bool,
    rows: &[Row],
    total: &Total,
) -> io::Result<()> {
    let show = |bytes: u64| if in_bytes { bytes.to_string() } else { size::show(bytes) };
    let with_common = rows.iter().any(|row| row.common.is_some());
    let title = |text: &str| text.to_owned();
    let mut lines = vec![[
        title("SIZE"),
        title("CLOSURE"),
        title("COMMON"),
        title("FREES"),
        title("USERS"),
        title("PATH"),
    ]];
    lines.extend(rows.iter().map(|row| {
        [
            show(row.size),
            show(row.closure),
            row.common.map_or_else(String::new, show),
            show(row.frees),
            (row.referrers + row.roots).to_string(),
            store_dir.print(&row.path),
        ]
    }));
    if rows.len() > 1 {
        let all = format!("together, with all {} paths that they need", total.paths);
        lines.push([String::new(), show(total.bytes), String::new(), show(total.frees), String::new(), all]);
    }
    let columns: Vec<usize> = (0..5).filter(|column| *column != 2 || with_common).collect();
    let width = |column: &usize| lines.iter().map(|line| line[*column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(width).collect();
    for line in &lines {
        let cells = columns.iter().zip(&widths).map(|(column, width)| format!("{:>width$}  ", line[*column]));
        results.line(cells.collect::<String>() + &line[5])?;
    }
    Ok(())
}
