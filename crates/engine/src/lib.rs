//! Realises goals: what is wanted becomes valid, by building whatever is not.
//!
//! Floor 4: the only crate with threads that outlive a call into it. It asks `local-store` what is valid, lets
//! `scheduler` choose, hands each choice to `builder` on a worker thread, and tells the caller what happens as
//! [`Event`]s, on the caller's own thread. It prints nothing and has no opinion about exit codes.
//!
//! ```text
//! Wanted ─► plan: derivations read level by level, one question to the database for each level
//!             │
//!           Plan ─► Schedule ─► job ─► worker 1 ─┐
//!                      ▲          └──► worker 2 ─┤ builder::build
//!                      │                         ▼
//!                      └── Outcome ── caller's thread ── Event ─► on_event
//! ```
//!
//! Where a derivation's outputs are may be known only when its inputs are there: content-addressed ones, and what needs
//! those. It is then resolved, and built only if the build trace does not know what came out of the same before; so an
//! input that changes without changing what comes out of it rebuilds nothing. Where a build makes a derivation, the plan
//! grows when it is there.
//!
//! Planning is linear in the goals and their inputs. From then on an event costs what it changes: no list of
//! waiting goals is ever walked, and a build's overhead is the same with thousands of others waiting.
//!
//! Without `keep-going` a failure starts nothing new; builds that run already are waited for.
//!
//! ```no_run
//! use engine::{Context, Event, Selection, Wanted};
//!
//! # fn realise_one(context: &Context<'_>, drv: store_path::StorePath) -> Result<(), engine::Error> {
//! let wanted = [Wanted::Outputs { drv, outputs: Selection::All }];
//! let report = engine::realise(context, &wanted, &mut |event| {
//!     if let Event::Started { drv } = event {
//!         eprintln!("building {drv}");
//!     }
//! })?;
//! assert!(report.failures.is_empty());
//! # Ok(())
//! # }
//! ```

mod closure;
mod control;
mod descriptors;
mod drive;
mod elsewhere;
mod enter;
mod error;
mod estimate;
mod fetch;
mod graph;
mod import;
mod lines;
mod lookup;
mod made;
mod newcomers;
mod offers;
mod order;
mod plan;
mod read;
mod ready;
mod reasons;
mod repair;
mod report;
mod room;
mod run;
mod settle;
mod stop;
mod trace;
mod wanted;
mod worker;

pub use enter::{Entered, enter, sketch};
pub use error::{Error, Missing};
pub use fetch::FetchError;
pub use import::{ImportError, import};
pub use lookup::{known_outputs, made, resolved};
pub use made::MadeError;
pub use newcomers::{NewcomerError, Newcomers};
pub use order::Task;
pub use plan::{Plan, plan};
pub use read::read_derivation;
pub use repair::{Repairs, Source, Unrepaired, repair, taken_in};
pub use report::{Blocked, Event, Failure, Report};
pub use run::{Context, check, realise, slots};
pub use wanted::{Realised, Selection, Wanted};
