//! Structured attributes as the text that Nix keeps in the variable `__json`.
//!
//! That text is part of the derivation's hash, so it has to be the one Nix makes of the same value: no white
//! space, fields sorted by their bytes, numbers as the JSON library of Nix writes them.

use serde_json::{Map, Number, Value};

/// Returns the text of a value, which is no deeper than the parser lets it be.
pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

/// Returns structured attributes as a value, if their text can be made again from it. Others stay a variable: Nix
/// would read them back as another derivation.
pub(super) fn value(text: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    value.sort_all_objects();
    (value.is_object() && print(&value).as_bytes() == text).then_some(value)
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Number(number) => text.push_str(&print_number(number)),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index > 0 { "," } else { "" });
                write(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => write_object(text, fields),
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn write_object(text: &mut String, fields: &Map<String, Value>) {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    text.push('{');
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        text.push_str(if index > 0 { "," } else { "" });
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        write(text, value);
    }
    text.push('}');
}

/// Whole numbers are what they are.
fn print_number(number: &Number) -> String {
    number.as_f64().filter(|_| number.is_f64()).map_or_else(|| number.to_string(), print_float)
}

/// Writes the fewest digits that tell a number apart, with an exponent of at least two digits where the point
/// would be far away.
pub(super) fn print_float(value: f64) -> String {
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("this is how `{:e}` looks");
    let exponent: i32 = exponent.parse().expect("an exponent is a small number");
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", place_point(&digits, exponent + 1))
}

/// Writes `0.<digits>` times ten to the power of `point`.
fn place_point(digits: &str, point: i32) -> String {
    /// Beyond as many digits as a number is sure to have, zeros would pretend to be exact.
    const FURTHEST: i32 = 15;
    let count = i32::try_from(digits.len()).expect("a number has few digits");
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    if (count..=FURTHEST).contains(&point) {
        return format!("{digits}{}.0", zeros(point - count));
    }
    if (1..=FURTHEST).contains(&point) {
        let (whole, fraction) = digits.split_at(usize::try_from(point).expect("it is positive"));
        return format!("{whole}.{fraction}");
    }
    if (-3..=0).contains(&point) {
        return format!("0.{}{digits}", zeros(-point));
    }
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let (sign, exponent) = if point < 1 { ('-', 1 - point) } else { ('+', point - 1) };
    format!("{first}{dot}{rest}e{sign}{exponent:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_nix_prints() {
        let print = |text: &str| print(&serde_json::from_str(text).unwrap());
        assert_eq!(
            print(r#"{"b": [1, {}], "a": {"é": null, "Z": true}}"#),
            r#"{"a":{"Z":true,"é":null},"b":[1,{}]}"#
        );
        assert_eq!(print(r#""\u0000\b\u007f\/\"""#), "\"\\u0000\\b\u{7f}/\\\"\"");
        for (number, printed) in [
            ("1.0", "1.0"),
            ("-0.5", "-0.5"),
            ("12.25e1", "122.5"),
            ("1e15", "1e+15"),
            ("1e14", "100000000000000.0"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1.5e-7", "1.5e-07"),
            ("1e300", "1e+300"),
            ("0.0", "0.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(print(number), printed, "{number}");
        }
    }
}
