//! Every command of `store`, on the real binary. One module a command, and four that go across:
//! what a build can see (`isolation`), what is said when something fails (`failures`), what can be named on the
//! command line (`targets`), and real software (`workload`).

#![allow(clippy::disallowed_methods, reason = "tests run the program, and look at what it left on disk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod add;
mod attributes;
mod build;
mod build_hook;
mod builtins;
mod canary;
mod check;
mod chroot;
mod colluders;
mod colour;
mod config;
mod confined;
mod container;
mod content_addressed;
mod delete;
mod derivation;
mod derivation_diff;
mod derivation_forms;
mod derivation_graph;
mod derivation_outputs;
mod differential;
mod doctor;
mod downloads;
mod dynamic;
mod escapes;
mod events;
mod explain;
mod failures;
mod filter;
mod history;
mod hooks;
mod hostile;
mod impure;
mod inside;
mod isolation;
mod job_server;
mod jobs;
mod kills;
mod limits;
mod live;
mod locks;
mod log;
mod nar;
mod narinfo;
mod neighbours;
mod network;
mod old_kernel;
mod output_checks;
mod path_info;
mod peer;
mod person;
mod processes;
mod purity;
mod query;
mod recipes;
mod records;
mod root_causes;
mod running;
mod scene;
mod stopping;
mod strangers;
mod subordinate;
mod targets;
mod terminal;
mod timeouts;
mod users;
mod verify;
mod waiting;
mod web;
mod workload;
mod world;
