//! Roles: named sets of permissions. Three are the system's and cannot be changed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::RoleId;
use crate::permission::{Permission, Permissions};

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    pub permissions: Permissions,
    pub is_system: bool,
}

/// The id of the system role `admin`.
pub const ADMIN: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));
/// The id of the system role `supervisor`.
pub const SUPERVISOR: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002));
/// The id of the system role `agent`.
pub const AGENT: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0003));

/// The roles that every tenant has.
pub fn system_roles() -> [Role; 3] {
    let not_for_supervisors = [
        Permission::BillingManage,
        Permission::RolesManage,
        Permission::DeveloperAccess,
        Permission::IntegrationsManage,
        Permission::SettingsManage,
    ];
    let supervisor =
        Permission::ALL.iter().copied().filter(|p| !not_for_supervisors.contains(p)).collect();
    let role = |id, name: &str, permissions| Role {
        id,
        name: name.to_owned(),
        permissions,
        is_system: true,
    };
    [
        role(ADMIN, "admin", Permissions::all()),
        role(SUPERVISOR, "supervisor", supervisor),
        role(AGENT, "agent", Permissions::NONE),
    ]
}
