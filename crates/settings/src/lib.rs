//! Every setting there is, in one table.
//!
//! Floor 1, pure. Text comes in, a [`Settings`] value comes out; reading files, the environment and the
//! command line is the business of `cli`, which applies the layers in this order, later ones winning:
//! the defaults, the configuration files, `STORE_CONFIG`, flags.
//!
//! A setting is one row of the table in `table.rs`: its name, its older and newer names, its help, and the
//! field of [`Settings`] that holds it. Parsing, `store config show` and the error messages all read that row.
//! There is no row that nothing acts on.
//!
//! ```
//! use settings::{Line, Settings, Source};
//!
//! let text = "sandbox-paths = /dev /proc /bin/mkdir # one program of the host\nbuild-cores = 4\n";
//! let mut settings = Settings::default();
//! for line in settings::parse(text, &Source::File("store.conf".into()))? {
//!     if let Line::Assignment { key, value, origin } = line {
//!         settings.set(&key, &value, &origin)?;
//!     }
//! }
//! assert_eq!(settings.cores, 4);
//! assert_eq!(settings.build_chroot_dirs.to_string(), "/dev /proc /bin/mkdir");
//! # Ok::<(), settings::Error>(())
//! ```

mod choices;
mod chroot_dirs;
mod error;
mod external;
mod for_nix;
mod layer;
mod nearest;
mod on_fail;
mod table;
mod value;
mod variation;

pub use choices::{
    CpuWeight, Explain, FodNetwork, Isolation, MaxJobs, MemoryForBuilds, SandboxShell, TmpfsSize, UseCgroups,
    UseChroot, Verbatim,
};
pub use chroot_dirs::{ChrootDir, ChrootDirs};
pub use error::{Error, ValueError};
pub use external::{ExternalBuilder, ExternalBuilders};
pub use layer::{Line, Origin, Source, parse};
pub use on_fail::OnFail;
pub use table::{Described, Settings, entries, entry};
pub use value::number;
pub use variation::{Variation, Variations};
