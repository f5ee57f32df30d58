//! White space, escapes and numbers as Nix prints them.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use super::attributes::print_float;
use super::format::Format;

/// Returns the text of a value that has only strings as keys, with a line feed at its end.
pub(super) fn to_string(format: Format, value: &impl Serialize) -> String {
    let mut json = Vec::new();
    let style = Style { pretty: PrettyFormatter::new(), has_letters: format >= Format::Nix2_12 };
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, style);
    value.serialize(&mut serializer).expect("all keys are strings, and a vector takes any bytes");
    json.push(b'\n');
    String::from_utf8(json).expect("JSON made of UTF-8 is UTF-8")
}

/// Two spaces for each level.
struct Style {
    pretty: PrettyFormatter<'static>,
    /// Whether backspace and form feed have letters, as line ends and tabs always have.
    has_letters: bool,
}

impl Formatter for Style {
    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let byte = match escape {
            CharEscape::Backspace if !self.has_letters => 0x08,
            CharEscape::FormFeed if !self.has_letters => 0x0c,
            _ => return self.pretty.write_char_escape(writer, escape),
        };
        self.pretty.write_char_escape(writer, CharEscape::AsciiControl(byte))
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(print_float(value).as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.pretty.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.pretty.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_object_value(writer)
    }
}
