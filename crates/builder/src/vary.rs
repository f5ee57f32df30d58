//! What is changed on purpose where a builder is run once more, as it ought not to matter; and what cannot be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use settings::{Variation, Variations};

use crate::compare::{Cause, Clues};
use crate::plan;
use crate::work::Work;

/// Another name of the host.
pub(crate) const HOST_NAME: &str = "elsewhere";

/// Another user, and another group.
pub(crate) const IDS: (u32, u32) = (2345, 234);

/// Another language, and a time zone that is far from all others. A derivation that sets them has its own.
pub(crate) const LOCALE: &[(&str, &str)] =
    [("LANG", "fr_CH.UTF-8"), ("LC_ALL", "fr_CH.UTF-8"), ("TZ", "XYZ-13:45")].as_slice();

/// Another number of processors.
pub(crate) fn cores(usual: usize) -> usize {
    if usual > 1 { usual - 1 } else { 2 }
}

/// Another place for the build directory, with a name of another length.
pub(crate) fn build_dir(usual: &Path) -> PathBuf {
    let mut name = OsString::from(usual.file_name().unwrap_or_default());
    name.push("-elsewhere");
    usual.with_file_name(name)
}

/// Something that was to be changed and cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotVaried {
    /// What.
    pub variation: Variation,
    /// Why not.
    pub why: &'static str,
}

/// Splits what is wanted into what can be changed for these builds, and what cannot.
pub(crate) fn possible(work: &Work<'_>, wanted: &Variations) -> (Variations, Vec<NotVaried>) {
    let why_not = |variation| match variation {
        Variation::Time => Some(
            "no kernel gives a process another time of the day than the rest of the machine: time namespaces have \
             clocks of their own for the time since the start only",
        ),
        Variation::Order if !work.is_isolated() => {
            Some("without isolation, nobody is there to turn the entries of directories round")
        }
        Variation::Uid if work.is_chroot() => {
            Some("with `build-isolation = chroot`, builders are the user that they are on the host")
        }
        Variation::HostName if work.is_chroot() => {
            Some("with `build-isolation = chroot`, the name of the host is the host's own")
        }
        _ => None,
    };
    let refused: Vec<NotVaried> = wanted
        .iter()
        .filter_map(|variation| Some(NotVaried { variation, why: why_not(variation)? }))
        .collect();
    let is_refused = |variation: &Variation| refused.iter().any(|refused| refused.variation == *variation);
    (wanted.iter().filter(|variation| !is_refused(variation)).collect(), refused)
}

/// What is known of what differed between a usual build and one with these changes, and of when each was.
pub(crate) fn clues(work: &Work<'_>, times: [i64; 2]) -> Clues {
    let usual_dir = &work.context.settings.sandbox_build_dir;
    let cores_before = work.context.host.cores;
    let text = |text: &dyn std::fmt::Display| text.to_string().into_bytes();
    let mut pairs = Vec::new();
    for variation in work.varied.iter() {
        match variation {
            Variation::HostName => {
                let usual = plan::host_name(&Variations::default());
                pairs.push((Cause::HostName, text(&usual), text(&HOST_NAME)));
            }
            Variation::Cores => pairs.push((Cause::Cores, text(&cores_before), text(&cores(cores_before)))),
            Variation::Uid => {
                pairs.push((Cause::User, text(&plan::IDS.0), text(&IDS.0)));
                pairs.push((Cause::User, text(&plan::IDS.1), text(&IDS.1)));
            }
            Variation::BuildPath => {
                pairs.push((Cause::BuildPath, text(&usual_dir.display()), text(&work.inside().display())));
            }
            Variation::Locale => {
                let values = LOCALE.iter().map(|(_, value)| (Cause::Locale, Vec::new(), text(value)));
                pairs.extend(values);
            }
            Variation::Kernel | Variation::Time | Variation::Order => {}
        }
    }
    Clues { pairs, times, old_kernel: work.varied.has(Variation::Kernel) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_is_another_value() {
        assert!(cores(1) != 1 && cores(2) != 2 && cores(64) != 64);
        assert_eq!(build_dir(Path::new("/build")), Path::new("/build-elsewhere"));
        assert_ne!(IDS, plan::IDS);
    }
}
