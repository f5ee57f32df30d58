//! Builds one derivation: its inputs are valid, its outputs will be, or a [`BuildFailure`] says why not. Floor 3.
//!
//! The steps, each in its module: the request is checked before anything is made (`request`), the
//! environment and its files are written (`environment`, `attributes`, `graph`), a pure function says what
//! the build may see (`plan`), `sandbox` runs it while the log is followed (`log`), and what it made is
//! checked, hashed, scanned and registered (`outputs`). What comes from the host is found out once for many
//! builds ([`Host`]).
//!
//! Chooses nothing and prints nothing; `engine` says what to build, and `cli` tells about it.
//!
//! ```no_run
//! use builder::{Context, Host, Message, Order};
//! use local_store::BuildId;
//!
//! # fn build(store: &local_store::LocalStore, drv: &store_path::StorePath, derivation: &derivation::Derivation)
//! # -> Result<(), Box<dyn std::error::Error>> {
//! let settings = settings::Settings::default();
//! let launcher = sandbox::Launcher::start()?;
//! let host = Host::look(&settings, Default::default())?;
//! let context = Context { store, launcher: &launcher, settings: &settings, host: &host, on_failure: None };
//! let order = Order { id: &BuildId::new(), drv, derivation, target: drv, control: None };
//! let built = builder::build(&context, &order, &mut |message| {
//!     if let Message::Output(text) = message {
//!         eprint!("{}", String::from_utf8_lossy(text));
//!     }
//! })?;
//! println!("{} outputs", built.outputs.len());
//! # Ok(())
//! # }
//! ```

mod again;
mod announce;
mod attempt;
mod attributes;
mod build;
mod build_dir;
mod builtin;
mod canary;
mod checks;
mod compare;
mod control;
mod copy_out;
mod diff_hook;
mod divergence;
mod environment;
mod explain;
mod external;
mod failure;
mod follow;
mod graph;
mod history;
mod host;
mod host_deps;
mod host_program;
mod inside;
mod isolation;
mod job_server;
mod kept_log;
mod limits;
mod log;
mod observe;
mod outputs;
mod phase;
mod plan;
mod post_build_hook;
mod pre_build_hook;
mod prepare;
mod repair;
mod request;
mod rewrite;
mod shown;
mod sketch;
mod stand_in;
mod stopwatch;
mod user;
mod vary;
mod verdict;
mod work;

pub use again::{Again, check};
pub use announce::AnnouncedBuild;
pub use build::{Built, Context, Maker, Message, Order, build};
pub use builtins::chain;
pub use canary::look_inside;
pub use checks::Rejection;
pub use compare::{Cause, Change, Comparison, Difference, Kind, Spot};
pub use control::Control;
pub use divergence::{Blame, Diverged, Divergence};
pub use explain::{Explanation, Finding, FindingKind, Remedy};
pub use failure::BuildFailure;
pub use follow::{Follow, Heard};
pub use history::remembering;
pub use host::{Host, HostError};
pub use inside::{Inside, OnFailure, enter};
pub use isolation::{Isolated, Isolation, isolated};
pub use kept_log::open_log;
pub use log::{Keep, Log, Run};
pub use post_build_hook::run_post_build_hook;
pub use repair::repair;
pub use shown::Shown;
pub use sketch::{Sketch, sketch};
pub use stand_in::Runs;
pub use stopwatch::now_millis;
pub use vary::NotVaried;
pub use verdict::{MARK, of as verdict};
