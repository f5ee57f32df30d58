//! From the name of a member to its place in the text.
//!
//! Whoever writes a file may have something told of each of a hundred thousand members, so all are looked up in one walk.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Problem;
use super::read::{head, wanted_outputs};
use super::reader::Reader;

/// A list of a `.drv` file whose members have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Section {
    /// By their names.
    Outputs,
    /// By their full paths.
    Inputs,
    /// By their names.
    Environment,
}

/// A member of a list.
pub(crate) type Member<'a> = (Section, Cow<'a, [u8]>);

/// Returns where the names of members stand, in a text that can be read.
pub(crate) fn locate<'a>(
    text: &'a [u8],
    wanted: impl IntoIterator<Item = Member<'a>>,
) -> HashMap<Member<'a>, usize> {
    let mut wanted: HashMap<Member<'a>, Option<usize>> =
        wanted.into_iter().map(|member| (member, None)).collect();
    // Nothing is looked for in most files.
    if wanted.is_empty() || walk(&mut Reader::new(text), &mut wanted).is_err() {
        return HashMap::new();
    }
    wanted.into_iter().filter_map(|(member, place)| Some((member, place?))).collect()
}

fn walk<'a>(reader: &mut Reader<'a>, wanted: &mut HashMap<Member<'a>, Option<usize>>) -> Result<(), Problem> {
    let mut named = |reader: &mut Reader<'a>, here: Section| {
        reader.expect("(")?;
        let start = reader.offset();
        if let Some(place) = wanted.get_mut(&(here, reader.string()?)) {
            place.get_or_insert(start);
        }
        reader.expect(",")
    };
    let depth = head(reader)?;
    reader.list(|reader| {
        named(reader, Section::Outputs)?;
        for end in [",", ",", ")"] {
            reader.skip()?;
            reader.expect(end)?;
        }
        Ok(())
    })?;
    reader.expect(",")?;
    reader.list(|reader| {
        named(reader, Section::Inputs)?;
        wanted_outputs(reader, depth)?;
        reader.expect(")")
    })?;
    reader.expect(",")?;
    reader.list(Reader::skip)?;
    for _ in ["system", "builder"] {
        reader.expect(",")?;
        reader.skip()?;
    }
    reader.expect(",")?;
    reader.list(Reader::skip)?;
    reader.expect(",")?;
    reader.list(|reader| {
        named(reader, Section::Environment)?;
        reader.skip()?;
        reader.expect(")")
    })
}
