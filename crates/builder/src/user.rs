//! Whom a builder is outside its sandbox.

use local_store::Wait;
use sandbox::{BuildUser, Ids};
use store_path::StorePath;

use crate::build::{Context, Message};
use crate::control::Control;
use crate::failure::BuildFailure;
use crate::request::Request;

/// As root, takes a user for one build; waits while other builds have them all.
pub(crate) fn take(
    context: &Context<'_>,
    request: &Request<'_>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Option<BuildUser>, BuildFailure> {
    take_for(context, request.drv, request.ids(), request.control, tell)
}

/// The same for what is not made by its derivation alone.
pub(crate) fn take_for(
    context: &Context<'_>,
    drv: &StorePath,
    ids: Ids,
    control: Option<&dyn Control>,
    tell: &mut dyn FnMut(Message<'_>),
) -> Result<Option<BuildUser>, BuildFailure> {
    let drops_groups = context.host.subordinate_ids > 0;
    let must_drop = context.settings.require_drop_supplementary_groups;
    if must_drop && !drops_groups && !sandbox::kept_groups().is_empty() {
        return Err(BuildFailure::KeepsGroups { drv: drv.clone(), groups: sandbox::kept_groups() });
    }
    let Some(users) = &context.host.users else { return Ok(None) };
    let wait = &mut || tell(Message::Waiting(Wait::User));
    let taken = context.launcher.take_user(users, ids, control.map(Control::given_up), wait);
    let user = taken.map_err(|source| BuildFailure::Sandbox { drv: drv.clone(), source })?;
    user.map(Some).ok_or_else(|| BuildFailure::GivenUp { drv: drv.clone() })
}
