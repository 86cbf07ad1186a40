//! The organizations that customers write to: founded at a server of this program's own, or those
//! that a file names at another.

use std::io;

use serde::Deserialize;
use serde_json::{Value, json};

use super::people::{Channel, Population, Tenant};
use super::scenario::Wrong;
use super::server::SECRET;
use crate::connection::Connection;
use crate::target::Target;

/// Organizations of a server that is there already, as a file names them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub tenant: Vec<Organization>,
}

/// An organization, somebody who may see everything of it, and its accounts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// A token or, since tokens end after a while, an API key.
    pub token: String,
    pub whatsapp: Option<AccountKey>,
    pub messenger: Option<AccountKey>,
    pub instagram: Option<AccountKey>,
    pub email: Option<AccountKey>,
}

/// An account, as its provider names it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountKey {
    /// `phone_number_id`, `page_id`, `ig_user_id` or `address`.
    pub key: String,
    /// What signs its webhooks: `app_secret`, or the `webhook_secret` of mails.
    pub secret: String,
}

impl Credentials {
    /// Of a file's text.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}

/// The organizations that a file names, as many as a scenario asks for.
pub(super) fn named(
    credentials: &Credentials,
    people: &Population,
    count: u64,
) -> Result<Vec<Tenant>, Wrong> {
    let (all, count) = (&credentials.tenant, usize::try_from(count).unwrap_or(usize::MAX));
    if all.len() < count {
        let there = all.len();
        return Err(Wrong::new(format!(
            "the scenario has {count} tenants, and the credentials name {there}: add some, or ask for \
             fewer `people.tenants`"
        )));
    }
    let mut tenants = Vec::new();
    for (at, organization) in all[..count].iter().enumerate() {
        let mut tenant = Tenant::new(organization.token.clone());
        let Organization { whatsapp, messenger, instagram, email, .. } = organization;
        for (channel, account) in
            Channel::ALL.into_iter().zip([whatsapp, messenger, instagram, email])
        {
            if let Some(AccountKey { key, secret }) = account {
                tenant.add(channel, key.clone(), secret);
            }
        }
        if let Some(channel) = people.channels().find(|channel| !tenant.has(*channel)) {
            let (number, name) = (at + 1, channel.name());
            return Err(Wrong::new(format!(
                "tenant {number} of the credentials has no account on {name}: name one, or set \
                 `people.channels.{name}` to 0"
            )));
        }
        tenants.push(tenant);
    }
    Ok(tenants)
}

/// So many new organizations, each with an account of each channel.
pub(super) async fn found(
    target: &Target,
    people: &Population,
    count: u64,
) -> io::Result<Vec<Tenant>> {
    let mut connection = Connection::new(target.address);
    let mut tenants = Vec::new();
    for number in 0..count {
        let admin = json!({
            "org_name": format!("Load {number}"),
            "admin_email": format!("admin{number}@load.example"),
            "admin_password": "correct horse",
        });
        let path = "/api/auth/register";
        let answer = connection.post(&target.host, path, "", &admin.to_string()).await?;
        let answer: Value = serde_json::from_slice(answer)?;
        let token = answer["token"].as_str();
        let token =
            token.ok_or_else(|| io::Error::other("a registration is answered with no token"))?;
        let mut tenant = Tenant::new(token.to_owned());
        for channel in people.channels() {
            let (key, config) = account(channel, number);
            let body = json!({"channel": channel.name(), "config": config}).to_string();
            connection.post(&target.host, "/api/integrations/accounts", token, &body).await?;
            tenant.add(channel, key, SECRET);
        }
        tenants.push(tenant);
    }
    Ok(tenants)
}

/// The accounts that so many new organizations will have: their keys.
pub(super) fn accounts(people: &Population, count: u64) -> Vec<(Channel, String)> {
    let of = |number| people.channels().map(move |channel| (channel, account(channel, number).0));
    (0..count).flat_map(of).collect()
}

/// An account of a tenant: its key, and what connects it.
fn account(channel: Channel, tenant: u64) -> (String, Value) {
    let meta =
        |name: &str, key: &str| json!({name: key, "access_token": "any", "app_secret": SECRET});
    match channel {
        Channel::Whatsapp => {
            let key = format!("1065{tenant:06}");
            let mut config = meta("phone_number_id", &key);
            config["waba_id"] = format!("waba-{key}").into();
            (key, config)
        }
        Channel::Messenger => {
            let key = format!("2065{tenant:06}");
            let config = meta("page_id", &key);
            (key, config)
        }
        Channel::Instagram => {
            let key = format!("3065{tenant:06}");
            let config = meta("ig_user_id", &key);
            (key, config)
        }
        Channel::Email => {
            let key = format!("desk{tenant}@load.example");
            let config = json!({"address": key, "webhook_secret": SECRET});
            (key, config)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::{Channel, Population};
    use super::super::scenario::{Channels, People};
    use super::{Credentials, accounts, named};

    const ONE: &str = "[[tenant]]\ntoken = \"t\"\nwhatsapp = { key = \"7\", secret = \"s\" }\n";

    fn population(channels: Channels) -> Population {
        Population::new(&People { channels, ..People::default() }, 7)
    }

    #[test]
    fn organizations_are_named_with_what_customers_write_by() {
        let credentials = Credentials::parse(ONE).unwrap();
        let by_phone = Channels { whatsapp: 1, messenger: 0, instagram: 0, email: 0 };
        assert_eq!(named(&credentials, &population(by_phone), 1).unwrap_or_default().len(), 1);
        let too_few = named(&credentials, &population(by_phone), 2).err().unwrap().to_string();
        assert!(too_few.contains("has 2 tenants, and the credentials name 1"), "{too_few}");
        let no_mail = Channels { email: 1, ..by_phone };
        let none = named(&credentials, &population(no_mail), 1).err().unwrap().to_string();
        assert!(none.contains("no account on email") && none.contains("people.channels.email"));
    }

    #[test]
    fn whoever_stands_in_for_the_providers_hears_of_each_account_whose_it_is() {
        let both = Channels { whatsapp: 0, messenger: 1, instagram: 1, email: 0 };
        let all = accounts(&population(both), 2);
        let of = |channel, key: &str| (channel, key.to_owned());
        for known in [
            of(Channel::Messenger, "2065000000"),
            of(Channel::Instagram, "3065000000"),
            of(Channel::Messenger, "2065000001"),
            of(Channel::Instagram, "3065000001"),
        ] {
            assert!(all.contains(&known), "{all:?}");
        }
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn a_mistake_in_credentials_is_told() {
        let wrong = Credentials::parse("[[tenant]]\ntokn = \"t\"").unwrap_err();
        assert!(wrong.contains("tokn"), "{wrong}");
    }
}
