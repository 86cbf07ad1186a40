//! Who may do what, and who may see which conversation.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{AgentId, TenantId};

macro_rules! permissions {
    ($($name:ident = $code:literal, $allows:literal;)*) => {
        /// Something a role may allow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission { $(#[doc = $code] $name),* }

        impl Permission {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its dotted code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// What it allows, as the end of "may ...".
            pub fn allows(self) -> &'static str {
                match self { $(Self::$name => $allows),* }
            }

            /// Of a dotted code.
            pub fn parse(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

permissions! {
    ActivityView = "activity.view",
        "see who changed what";
    AgentsManage = "agents.manage",
        "add, change and remove agents";
    AnalyticsView = "analytics.view",
        "see reports";
    AutomationManage = "automation.manage",
        "write automation rules";
    BillingManage = "billing.manage",
        "change the subscription and see invoices";
    CampaignsManage = "campaigns.manage",
        "write to many customers at once";
    ConversationsAssign = "conversations.assign",
        "give conversations to others";
    ConversationsViewAll = "conversations.view_all",
        "see the conversations of others";
    DeveloperAccess = "developer.access",
        "use API keys and look at what could not be understood";
    DivisionsManage = "divisions.manage",
        "divide the organization into teams";
    IntegrationsManage = "integrations.manage",
        "connect channels";
    QuickRepliesManage = "quick_replies.manage",
        "write quick replies";
    RolesManage = "roles.manage",
        "make and change roles";
    SettingsManage = "settings.manage",
        "change the organization's settings";
    SlaManage = "sla.manage",
        "set how fast customers are answered";
    TemplatesManage = "templates.manage",
        "write message templates";
    WebhooksManage = "webhooks.manage",
        "have other programs told of what happens";
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// None.
    pub const NONE: Self = Self(0);

    /// Every permission.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether it holds this one.
    pub fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    /// Whether it holds all of `other`.
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// What both hold.
    pub fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// In the order of the list.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | 1 << permission as u64))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Permission::code)).finish()
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(Permission::code))
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // A code that a later version knew is not held by this one.
        let codes = Vec::<String>::deserialize(from)?;
        Ok(codes.iter().filter_map(|code| Permission::parse(code)).collect())
    }
}

/// Who looks at conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub tenant: TenantId,
    pub agent: AgentId,
    pub permissions: Permissions,
}

impl Viewer {
    /// The one rule of who sees a conversation: own and unassigned ones, or all of them.
    pub fn may_see(&self, assignee: Option<AgentId>) -> bool {
        self.permissions.has(Permission::ConversationsViewAll)
            || assignee.is_none_or(|agent| agent == self.agent)
    }
}
