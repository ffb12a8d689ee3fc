//! `authz`: which roles the caller holds.
//!
//! Identity is read from [`Facts::identity`] alone, into which the data plane puts only what the operator
//! declared trusted. Without a user the roles are unknown, and unless `authz.fail_open` is set the request
//! is refused.

use pintle_config::{Profile, RoleBinding};

use super::{Compiler, EvidenceTable, SignalKind};
use crate::evidence::{Evidence, Unknown};
use crate::facts::Facts;
use crate::ids::SignalId;

#[derive(Debug)]
pub(super) struct Authz {
    roles: Vec<Role>,
    fail_open: bool,
    profile: Profile,
}

#[derive(Debug)]
struct Role {
    id: SignalId,
    users: Vec<String>,
    groups: Vec<String>,
}

impl Authz {
    pub(super) fn compile(
        bindings: &[RoleBinding],
        settings: &pintle_config::Authz,
        c: &mut Compiler<'_>,
    ) -> Self {
        let mut roles: Vec<Role> = Vec::new();
        for (at, binding) in bindings.iter().enumerate() {
            let place = || format!("routing.signals.role_bindings[{at}]");
            if binding.role.is_empty() {
                c.error(place(), "a role binding needs a role");
            }
            if binding.subjects.is_empty() {
                c.error(place(), "a role binding needs at least one subject");
            }
            let id = c.names.declare(SignalKind::Authz, &binding.role);
            c.names.alias(SignalKind::Authz, &binding.name, id);
            let known = roles.iter().position(|role| role.id == id).unwrap_or_else(|| {
                roles.push(Role { id, users: Vec::new(), groups: Vec::new() });
                roles.len() - 1
            });
            for subject in &binding.subjects {
                match subject.kind.as_str() {
                    _ if subject.name.is_empty() => c.error(place(), "a subject needs a name"),
                    "User" => roles[known].users.push(subject.name.clone()),
                    "Group" => roles[known].groups.push(subject.name.clone()),
                    other => c.error(place(), format!("a subject is a User or a Group, not {other:?}")),
                }
            }
        }
        Self { roles, fail_open: settings.fail_open, profile: c.profile }
    }

    /// A request without a user is let through, without roles.
    pub(super) const fn fails_open(&self) -> bool {
        self.fail_open
    }

    pub(super) fn evaluate(&self, facts: &Facts<'_>, out: &mut EvidenceTable) {
        let identity = facts.identity;
        for role in &self.roles {
            out[role.id.index()] = if identity.user.is_empty() && self.profile == Profile::Pintle {
                Evidence::unknown(Unknown::NoIdentity)
            } else if identity.user.is_empty() {
                Evidence::plain(false)
            } else {
                let in_group = |group: &str| role.groups.iter().any(|held| held == group.trim());
                Evidence::plain(
                    role.users.iter().any(|user| user == identity.user)
                        || identity.groups.split(',').any(in_group),
                )
            };
        }
    }
}
