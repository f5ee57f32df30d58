//! A configuration never panics, and every setting reads the value that it shows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use settings::{Line, Origin, Settings, Source, entries};

fuzz_target!(|text: &str| {
    let Ok(lines) = settings::parse(text, &Source::Variable("FUZZ")) else { return };
    let mut settings = Settings::default();
    // A hundred names that nobody knows, each compared with all that are known, are no better than a few.
    for line in lines.into_iter().take(16) {
        if let Line::Assignment { key, value, origin } = line {
            // A refused value leaves the setting as it was, which the check below would notice.
            let _ = settings.set(&key, &value, &origin);
        }
    }
    let mut again = Settings::default();
    for entry in entries(&settings) {
        again.set(entry.key, &entry.value, &Origin::flag("show")).expect("what is shown can be read");
    }
    assert_eq!(again, settings);
});
