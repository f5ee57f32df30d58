//! Numbers as Nix prints them, which is how its C++ library for JSON does.

use std::io::{self, Write};

use serde_json::Number;
use serde_json::ser::Formatter;

/// Compact JSON, with fractions as Nix prints them.
pub(super) struct AsNix;

impl Formatter for AsNix {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(fraction(value).as_bytes())
    }
}

/// Zeros are written out from `0.0001` up to fifteen digits before the point; others get an exponent of two digits at
/// least, with its sign.
fn fraction(value: f64) -> String {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.replace('.', "");
    // Where the point stands, counted from the first digit.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    let number = match point {
        16.. | ..=-4 => {
            let (first, rest) = digits.split_at(1);
            let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
            let sign = if point > 0 { '+' } else { '-' };
            format!("{first}{rest}e{sign}{:02}", (point - 1).abs())
        }
        ..=0 => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        _ if count <= point => format!("{digits}{}.0", "0".repeat((point - count) as usize)),
        _ => format!("{}.{}", &digits[..point as usize], &digits[point as usize..]),
    };
    if value.is_sign_negative() { format!("-{number}") } else { number }
}

/// What a shell gets of a number: nothing of one that is no whole number after it was rounded to 24 bits, and else its
/// low 32 bits. That is of little use for large numbers, but builders are to get the same from both.
pub(super) fn to_shell(number: &Number) -> Option<String> {
    let (rounded, low) = if let Some(value) = number.as_u64() {
        (value as f32, value as i32)
    } else if let Some(value) = number.as_i64() {
        (value as f32, value as i32)
    } else {
        let value = number.as_f64()?;
        let fits = value > f64::from(i32::MIN) - 1.0 && value < f64::from(i32::MAX) + 1.0;
        (value as f32, if fits { value as i32 } else { i32::MIN })
    };
    (rounded.ceil() == rounded).then(|| low.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_have_exponents_where_those_of_nix_do() {
        for (value, text) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1.5, "1.5"),
            (123.456, "123.456"),
            (4294970000.0, "4294970000.0"),
            (999999999999999.0, "999999999999999.0"),
            (1e15, "1e+15"),
            (1.23457e17, "1.23457e+17"),
            (1e100, "1e+100"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (1e-5, "1e-05"),
            (-1.5e-7, "-1.5e-07"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(fraction(value), text);
        }
    }
}
