//! Roles: named sets of permissions. Three are the system's and cannot be changed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::RoleId;
use crate::permission::{Permission, Permissions};
use crate::resource::{Invalid, Resource, SettingKind, name};
use crate::time::Timestamp;

/// A named set of permissions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    /// Lower case does not count: two that differ in it alone are one.
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    pub permissions: Permissions,
    pub is_system: bool,
    #[serde(default)]
    pub created_at: Timestamp,
    #[serde(default)]
    pub updated_at: Timestamp,
}

/// The id of the system role `admin`.
pub const ADMIN: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0001));
/// The id of the system role `supervisor`.
pub const SUPERVISOR: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0002));
/// The id of the system role `agent`.
pub const AGENT: RoleId = RoleId(Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0003));

/// The roles that every tenant has, from its first moment.
pub fn system_roles(since: Timestamp) -> [Role; 3] {
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
        description: None,
        permissions,
        is_system: true,
        created_at: since,
        updated_at: since,
    };
    [
        role(ADMIN, "admin", Permissions::all()),
        role(SUPERVISOR, "supervisor", supervisor),
        role(AGENT, "agent", Permissions::NONE),
    ]
}

impl Resource for Role {
    const KIND: SettingKind = SettingKind::Role;
    const NAME: &'static str = "role";
    type Id = RoleId;

    fn id(&self) -> RoleId {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }
}

/// A role's name as it is stored. Roles are found by name or id: what reads as an id is no name.
pub fn role_name(text: &str) -> Result<String, Invalid> {
    let name = name("name", text)?;
    if Uuid::try_parse(&name).is_ok() {
        return Err(Invalid::field("name", "must not be an id"));
    }
    Ok(name)
}

/// A set of dotted codes.
pub fn permissions(field: &str, codes: &[String]) -> Result<Permissions, Invalid> {
    let parse = |(at, code): (usize, &String)| {
        let wrong = || Invalid::field(format!("{field}.{at}"), "must be the code of a permission");
        Permission::parse(code).ok_or_else(wrong)
    };
    codes.iter().enumerate().map(parse).collect()
}
