//! Layers of text applied to the defaults: `fixtures/settings/*.conf` beside what comes of them.

use std::error::Error as _;

use proptest::prelude::*;
use settings::{Error, Line, Origin, Settings, Source, entries, entry, parse};

fn apply(settings: &mut Settings, text: &str) -> Result<Vec<String>, Error> {
    let mut includes = Vec::new();
    for line in parse(text, &Source::File("store.conf".into()))? {
        match line {
            Line::Assignment { key, value, origin } => settings.set(&key, &value, &origin)?,
            Line::Include { path, optional, origin } => {
                includes.push(format!("{origin}: include `{}`, optional: {optional}\n", path.display()));
            }
        }
    }
    Ok(includes)
}

fn fixture(name: &str) -> String {
    String::from_utf8(test_support::read(&format!("settings/{name}"))).expect("fixtures are text")
}

fn told(error: &Error) -> String {
    let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{cause}\n")
}

/// The settings that are not at their default.
fn changed(settings: &Settings) -> String {
    let changed = entries(settings).filter(|entry| entry.value != entry.default);
    changed.map(|entry| format!("{} = {}\n", entry.key, entry.value)).collect()
}

fn check_layer(name: &str) {
    let mut settings = Settings::default();
    let includes = apply(&mut settings, &fixture(&format!("{name}.conf"))).expect("the fixture is right");
    test_support::check(&format!("settings/{name}.txt"), includes.concat() + &changed(&settings));
}

#[test]
fn a_setting_is_found_by_each_of_its_names() {
    let (settings, origin) = (Settings::default(), Origin::flag("config show"));
    for name in ["build-chroot-dirs", "sandbox-paths"] {
        assert_eq!(entry(&settings, name, &origin).unwrap().key, "build-chroot-dirs");
    }
    let error = entry(&settings, "sandbx", &origin).unwrap_err().to_string();
    assert_eq!(error, "config show: unknown setting `sandbx`; did you mean `sandbox`?");
}

#[test]
fn every_setting_takes_a_value() {
    check_layer("everything");
}

#[test]
fn older_and_newer_names_mean_the_same() {
    check_layer("aliases");
}

#[test]
fn comments_blanks_and_includes_are_understood() {
    check_layer("layout");
}

#[test]
fn extra_appends_to_lists() {
    check_layer("extra");
}

/// Each line of the fixture is one mistake; all of them are reported with their own line.
#[test]
fn a_mistake_names_file_line_and_remedy() {
    let text = fixture("mistakes.conf");
    let report: String = text
        .lines()
        .enumerate()
        .filter_map(|(above, line)| {
            let alone = "\n".repeat(above) + line;
            apply(&mut Settings::default(), &alone).err().map(|error| told(&error))
        })
        .collect();
    assert_eq!(report.lines().count(), text.lines().filter(|line| !line.starts_with('#')).count());
    test_support::check("settings/mistakes.txt", report);
}

/// `system` and `extra-platforms` depend on the machine, so only their names are compared.
#[test]
fn the_table_is_described() {
    let described: String = entries(&Settings::default())
        .map(|entry| {
            let machine = ["system", "extra-platforms"].contains(&entry.key);
            let default = if machine { "(of the machine)" } else { &entry.default };
            format!(
                "{} [{}] {}\n  default: {default}\n  {}\n",
                entry.key,
                entry.aliases.join(" "),
                entry.kind,
                entry.help
            )
        })
        .collect();
    test_support::check("settings/table.txt", described);
}

#[test]
fn no_name_is_given_twice() {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries(&Settings::default()) {
        names.push(entry.key);
        names.extend(entry.aliases);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn the_private_mounts_yield_only_to_their_own_entries() {
    let dirs = |text: &str| {
        let mut settings = Settings::default();
        settings
            .set("build-chroot-dirs", text, &Origin::flag("--option"))
            .map(|()| settings.build_chroot_dirs)
    };
    let other = dirs("/bin/mkdir").unwrap();
    assert!(other.private_dev() && other.private_proc());
    let without = dirs("-/dev").unwrap();
    assert!(!without.private_dev() && without.private_proc());
    let host = dirs("/dev=/dev").unwrap();
    assert!(!host.private_dev() && host.binds().len() == 1);
    let again = dirs("/dev=/dev /dev").unwrap();
    assert!(again.private_dev() && again.binds().is_empty());
}

#[test]
fn a_failed_assignment_changes_nothing() {
    let mut settings = Settings::default();
    let origin = Origin::flag("--option");
    settings.set("sandbox-paths", "/bin/mkdir", &origin).unwrap();
    let before = settings.clone();
    settings.set("sandbox-paths", "/bin/cat relative", &origin).unwrap_err();
    settings.set("extra-sandbox-paths", "/bin/cat relative", &origin).unwrap_err();
    assert_eq!(settings, before);
}

/// Found by the fuzz target `settings_parse`: it was shown as an entry that may be absent.
#[test]
fn a_name_may_end_in_the_mark_for_what_may_be_absent() {
    let mut settings = Settings::default();
    let text = "/bin/odd?/ /bin/odder=/bin/odd?/ /bin/absent??";
    settings.set("sandbox-paths", text, &Origin::flag("--option")).unwrap();
    let dirs = &settings.build_chroot_dirs;
    let marks: Vec<bool> = dirs.binds().iter().map(|bind| bind.optional).collect();
    assert_eq!(marks, [false, false, true]);
    assert_eq!(dirs.to_string(), format!("/dev /proc {text}"));
}

/// Texts near what settings take, and anything else.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9/=?%. -]{0,20}", "-?(/[a-z.]{0,3}){1,3}(=(/[a-z]{0,3}){1,2})?[?]?", ".*"]
}

proptest! {
    #[test]
    fn what_is_shown_is_taken_back(row in 0..entries(&Settings::default()).count(), text in texts()) {
        let mut settings = Settings::default();
        let origin = Origin::flag("--option");
        let key = entries(&settings).nth(row).unwrap().key;
        if settings.set(key, &text, &origin).is_ok() {
            let shown = entries(&settings).nth(row).unwrap().value;
            let mut again = Settings::default();
            again.set(key, &shown, &origin).unwrap();
            prop_assert_eq!(again, settings);
        }
    }

    #[test]
    fn parsing_never_panics(text in ".*") {
        let _ = apply(&mut Settings::default(), &text);
    }
}
