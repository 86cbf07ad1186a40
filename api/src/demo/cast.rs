//! The organization: people and accounts, made by REST the first time and found the next.

use futures_util::future::try_join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::rest::{Caller, Failure};

/// The business number that is connected.
pub(super) const PHONE_NUMBER_ID: &str = "106540001";
/// The page of Messenger that is.
pub(super) const PAGE_ID: &str = "106540002";
/// The account of Instagram that is.
pub(super) const IG_USER_ID: &str = "17841400003";
/// The address of the inbox that is.
pub(super) const INBOX: &str = "hello@corner.example";
/// Signs the provider's webhooks.
pub(super) const APP_SECRET: &str = "demo-app-secret";
/// Lets the business send.
pub(super) const ACCESS_TOKEN: &str = "demo-access-token";

const ORGANIZATION: &str = "Corner Store";

/// Somebody who logs in.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) role: &'static str,
    pub(super) email: &'static str,
    pub(super) password: &'static str,
}

/// The one whom the reader of the terminal may be.
pub(super) const ADMIN: Person =
    Person { name: "Admin", role: "admin", email: "admin@corner.example", password: "demo-admin" };

/// Those who work by themselves.
pub(super) const TEAM: [Person; 4] = [
    Person {
        name: "Noor Haddad",
        role: "supervisor",
        email: "noor@corner.example",
        password: "demo-noor",
    },
    Person {
        name: "Amara Osei",
        role: "agent",
        email: "amara@corner.example",
        password: "demo-amara",
    },
    Person {
        name: "Lukas Berger",
        role: "agent",
        email: "lukas@corner.example",
        password: "demo-lukas",
    },
    Person {
        name: "Sofía Rey",
        role: "agent",
        email: "sofia@corner.example",
        password: "demo-sofia",
    },
];

/// A person, logged in.
pub(super) struct Member {
    pub(super) person: &'static Person,
    pub(super) id: String,
    pub(super) caller: Caller,
}

/// Makes what is missing at the server, and logs the team in.
pub(super) async fn assemble(url: &str) -> Result<Vec<Member>, String> {
    let nobody = Caller::new(url)?;
    let admin = admin(&nobody).await?;
    let made = tokio::try_join!(team(&admin), accounts(&admin));
    let (team, ()) = made.map_err(|failure| format!("the demo's organization: {failure}"))?;
    Ok(team)
}

async fn admin(nobody: &Caller) -> Result<Caller, String> {
    let body = json!({
        "org_name": ORGANIZATION, "admin_email": ADMIN.email, "admin_password": ADMIN.password,
    });
    match nobody.post("/api/auth/register", &body).await {
        Ok(answer) => Ok(nobody.with_token(&answer)),
        // It is there from an earlier run.
        Err(failure) if failure.status == Some(StatusCode::CONFLICT) => {
            nobody.login(ADMIN.email, ADMIN.password).await.map_err(|failure| {
                let email = ADMIN.email;
                format!("cannot log in as {email} ({failure}): choose another directory for --data")
            })
        }
        Err(failure) => Err(format!("the demo's organization: {failure}")),
    }
}

async fn team(admin: &Caller) -> Result<Vec<Member>, Failure> {
    let known = admin.get("/api/agents?per_page=100").await?;
    try_join_all(TEAM.iter().map(|person| member(admin, &known, person))).await
}

async fn member(admin: &Caller, known: &Value, person: &'static Person) -> Result<Member, Failure> {
    let Person { name, role, email, password } = *person;
    let is_known = list(known).iter().any(|agent| agent["email"] == email);
    if !is_known {
        let body = json!({"name": name, "email": email, "password": password, "role": role});
        admin.post("/api/agents", &body).await?;
    }
    let caller = admin.login(email, password).await?;
    let me = caller.get("/api/auth/me").await?;
    let id = me["id"].as_str().unwrap_or_default().to_owned();
    caller.patch(&format!("/api/agents/{id}/status"), &json!({"availability": "online"})).await?;
    Ok(Member { person, id, caller })
}

async fn accounts(admin: &Caller) -> Result<(), Failure> {
    let known = admin.get("/api/integrations/accounts?per_page=100").await?;
    let waba_id = simulator::Account::new(PHONE_NUMBER_ID).waba_id;
    for (channel, id, key) in [
        ("whatsapp", "phone_number_id", PHONE_NUMBER_ID),
        ("instagram", "ig_user_id", IG_USER_ID),
        ("messenger", "page_id", PAGE_ID),
        ("email", "address", INBOX),
    ] {
        if list(&known).iter().any(|account| account["account_key"] == key) {
            continue;
        }
        let mut config = json!({id: key});
        if channel != "email" {
            (config["access_token"], config["app_secret"]) =
                (ACCESS_TOKEN.into(), APP_SECRET.into());
        }
        if channel == "whatsapp" {
            config["waba_id"] = waba_id.as_str().into();
        }
        let body = json!({"channel": channel, "display_name": ORGANIZATION, "config": config});
        admin.post("/api/integrations/accounts", &body).await?;
    }
    Ok(())
}

/// The rows of a list.
pub(super) fn list(answer: &Value) -> &[Value] {
    answer.as_array().map_or(&[], Vec::as_slice)
}
