//! Who needs whom.

use crate::goal::GoalId;

/// Every edge there is. Each is in two lists: of the users of its input, and of the inputs of its user. So none needs memory
/// of its own, and a goal keeps two heads of lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges(Vec<Edge>);

#[derive(Clone, Copy, Debug)]
struct Edge {
    user: GoalId,
    next_user: Link,
    input: GoalId,
    next_input: Link,
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    pub(crate) const END: Self = Self(u32::MAX);
}

impl Edges {
    /// Returns an edge between two goals whose lists go on with `users` and `inputs`.
    pub(crate) fn add(&mut self, (user, inputs): (GoalId, Link), (input, users): (GoalId, Link)) -> Link {
        let link = u32::try_from(self.0.len()).ok().filter(|link| *link != Link::END.0);
        self.0.push(Edge { user, next_user: users, input, next_input: inputs });
        Link(link.expect("a schedule has fewer than four billion edges"))
    }

    /// Returns the first user of a list, and where it goes on.
    pub(crate) fn user(&self, list: Link) -> Option<(GoalId, Link)> {
        self.0.get(list.0 as usize).map(|edge| (edge.user, edge.next_user))
    }

    /// Returns the first input of a list, and where it goes on.
    pub(crate) fn input(&self, list: Link) -> Option<(GoalId, Link)> {
        self.0.get(list.0 as usize).map(|edge| (edge.input, edge.next_input))
    }

    /// Returns the inputs of a list.
    pub(crate) fn inputs(&self, mut list: Link) -> impl Iterator<Item = GoalId> {
        std::iter::from_fn(move || {
            let (input, next) = self.input(list)?;
            list = next;
            Some(input)
        })
    }
}
