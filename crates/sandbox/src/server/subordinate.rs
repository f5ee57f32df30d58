//! Whom the builders of an ordinary user are outside: subordinate ids, in a user namespace of the launcher's.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::{Server, say};
use crate::error::Step;
use crate::ids;
use crate::ownership;
use crate::plan::{Identity, Isolation, Plan, Subordinate};
use crate::subordinate::Subordinates;
use crate::wire::{Failure, Reply};

impl Server {
    /// Enters the user namespace that an ordinary user's builds are made in. There is no way back, so what needs none
    /// has to come from another launcher then; one that builds both ways would not know which its user wanted.
    pub(super) fn be_where(&mut self, plan: &Plan) -> Result<(), Failure> {
        match (&plan.isolation, self.caller.0) {
            (_, 0) => Ok(()),
            (Isolation::Namespaces, _) if self.own_namespace => Ok(()),
            (Isolation::Namespaces, _) => self.enter_namespace(plan.identity.subordinate),
            (Isolation::Chroot { .. } | Isolation::None, _) if self.own_namespace => {
                Err(Failure::new(Step::LeaveNamespace, "/", Errno::BUSY))
            }
            (Isolation::Chroot { .. } | Isolation::None, _) => Ok(()),
        }
    }

    /// With subordinate ids, if the caller has some and they are wanted.
    fn enter_namespace(&mut self, subordinate: Subordinate) -> Result<(), Failure> {
        let found = if subordinate == Subordinate::Never { None } else { Subordinates::find() };
        let refused = match &found {
            Some(found) => found.enter(self.caller)?,
            None => ids::enter_own(self.caller).map(|()| None)?,
        };
        self.own_namespace = true;
        self.subordinates = found.filter(|_| refused.is_none());
        self.not_subordinate = refused.map(|failure| (failure, false));
        Ok(())
    }

    /// Makes the builder one of the caller's subordinate ids; returns which that is on the host.
    pub(super) fn choose_subordinate(&self, plan: &mut Plan) -> Result<Option<(u32, u32)>, Failure> {
        let Identity { outer, count, subordinate, .. } = plan.identity;
        if outer.is_some() || self.caller.0 == 0 || subordinate == Subordinate::Never {
            return Ok(None);
        }
        let running = self.builds.iter().map(|build| &build.plan.identity);
        let taken: Vec<_> = running.filter_map(|one| Some((one.outer?.0, one.count))).collect();
        let found = self.subordinates.as_ref();
        plan.identity.outer = found.and_then(|ids| ids.choose(count, &taken));
        match (plan.identity.outer, &self.not_subordinate) {
            (None, Some((failure, _))) if subordinate == Subordinate::Needed => Err(failure.clone()),
            (None, None) if subordinate == Subordinate::Needed => {
                Err(Failure::new(Step::MapSubordinates, "/etc/subuid", Errno::NOENT))
            }
            (outer, _) => Ok(outer.zip(found).map(|(outer, found)| found.on_host(outer))),
        }
    }

    /// Warns once, and says to each build that its builder is the caller outside though it need not be.
    pub(super) fn tell_not_subordinate(&mut self, plan: &Plan, reply: &OwnedFd) -> Option<String> {
        let (failure, is_told) = self.not_subordinate.as_mut()?;
        if plan.identity.subordinate == Subordinate::Never {
            return None;
        }
        if !std::mem::replace(is_told, true) {
            say(reply.as_fd(), &Reply::Warning(failure.clone()));
        }
        Some("the caller as its user outside, whose subordinate ids cannot be mapped".to_owned())
    }

    /// Gives a directory and what is in it to the caller.
    pub(super) fn take_back(&mut self, directory: &OwnedFd) -> Result<(), Failure> {
        if !self.own_namespace && self.caller.0 != 0 {
            self.enter_namespace(Subordinate::Needed)?;
        }
        match (&self.subordinates, &self.not_subordinate) {
            (Some(_), _) => ownership::give(directory.as_fd(), ownership::CALLER, &[])
                .map_err(|errno| Failure::new(Step::TakeBack, "/", errno)),
            (None, Some((failure, _))) => Err(failure.clone()),
            (None, None) => Err(Failure::new(Step::MapSubordinates, "/etc/subuid", Errno::NOENT)),
        }
    }
}
