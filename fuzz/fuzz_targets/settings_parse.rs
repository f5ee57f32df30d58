//! A configuration never panics, and every setting reads the value that it shows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use settings::{Line, Origin, Settings, Source, entries};

fuzz_target!(|text: &str| {
    let Ok(lines) = settings::parse(text, &Source::Variable("FUZZ")) else { return };
    let mut settings = Settings::default();
    for line in lines {
        if let Line::Assignment { key, value, origin } = line {
            // A refused value leaves the setting as it was, which the check below would notice.
            let _ = settings.set(&key, &value, &origin);
        }
    }
    let mut again = Settings::default();
    for entry in entries(&settings) {
        again.set(entry.key, &entry.value, &Origin::flag("show")).expect("what is shown can be read");
    }
    assert!(entries(&again).eq(entries(&settings)));
});
