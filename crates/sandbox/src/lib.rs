//! Plans of a sandbox, and the launcher that carries them out. Floor 0, kernel.
//!
//! The only crate that mounts, unshares, pivots or forks. It knows neither derivations nor store
//! paths: it is handed a [`Plan`] with absolute paths and a program.
//!
//! ```
//! use sandbox::{Access, Op};
//!
//! let op = Op::Bind {
//!     source: "/data/input".into(),
//!     target: "/input".into(),
//!     access: Access::ReadOnly,
//!     optional: false,
//! };
//! assert_eq!(op.to_string(), "bind ro /input from /data/input");
//! ```
//!
#![doc = include_str!("../ESCAPES.md")]

mod accounts;
mod allowance;
mod canary;
mod cgroup;
mod child;
mod chroot;
mod connection;
mod descendants;
mod error;
mod filter;
mod functions;
mod gather;
mod given;
mod host;
mod host_program;
mod ids;
mod keeper;
mod launcher;
mod leash;
mod left_over;
mod limits;
mod machine;
mod minder;
mod mounting;
mod network_helper;
mod network_probe;
mod observation;
mod observer;
mod ownership;
mod packet;
mod plan;
mod probe;
mod program_file;
mod restrict;
mod root;
mod running;
mod server;
mod streams;
mod subordinate;
mod sweep;
mod sys;
mod terminal;
mod uniform;
mod usage;
mod users;
mod wire;

pub use allowance::{Allowance, Overrun};
pub use canary::{circumstances, look_inside};
pub use error::{Error, Step};
pub use filter::can_filter;
pub use functions::Function;
pub use given::{Given, Limited, Namespace, Scheme, Unlimited};
pub use host::{HostError, HostFile, find_shell, program};
pub use host_program::{HostProcess, HostProgram, HostUser};
pub use launcher::{Attached, Launcher, take_back};
pub use left_over::{end_builds_with, release};
pub use limits::{Cgroups, Enforcement, Limits};
pub use machine::available_memory;
pub use network_helper::{Closed, Helper, Uplink, Withheld, find_uplink};
pub use observation::{Absent, Address, How, Kind, Observation, Observed, Scope, ScopePath};
pub use plan::{
    Access, Exec, Filter, Identity, Isolation, Network, Op, Plan, Program, Resource, Subordinate,
};
pub use probe::{Finding, Lack, Need, probe};
pub use running::{Exit, ExitStatus, Notice, OutOfMemory, Running};
pub use server::{launcher_main, launcher_main_with};
pub use streams::{Size, Streams};
pub use subordinate::subordinate_ids;
pub use sys::{is_open_to_write, share_bytes};
pub use terminal::Terminal;
pub use usage::{Processes, Usage};
pub use users::{BuildUser, BuildUsers, Ids, UserChoice, kept_groups};
pub use wire::Detail;
