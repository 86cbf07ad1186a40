//! Where webhooks go: the app's address, unless a business account or a number has its own (Meta,
//! "Override callbacks").

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::desk::Desk;
use super::logins;
use super::numbers::done;
use super::routes::{Answered, Call, Reply};
use crate::bodies::Account;
use crate::error::{self, GraphError};

/// What an address has to repeat.
const CHALLENGE: &str = "1158201444";

/// A business account's subscription; one that is not here is subscribed with the app's address.
#[derive(Clone, Debug)]
enum Subscription {
    Ended,
    To(Arc<str>),
}

#[derive(Debug, Default)]
pub(super) struct Callbacks {
    accounts: HashMap<String, Subscription>,
    numbers: HashMap<String, Arc<str>>,
}

impl Callbacks {
    /// Where webhooks of this number go: `None` for the app's address, an error where nobody is
    /// subscribed.
    pub(super) fn of(&self, waba_id: &str, number: &str) -> Result<Option<Arc<str>>, ()> {
        // A page is subscribed to itself.
        let account = self.accounts.get(waba_id).or_else(|| self.accounts.get(number));
        match (account, self.numbers.get(number)) {
            (Some(Subscription::Ended), _) => Err(()),
            (_, Some(url)) => Ok(Some(Arc::clone(url))),
            (Some(Subscription::To(url)), None) => Ok(Some(Arc::clone(url))),
            (None, None) => Ok(None),
        }
    }

    /// The addresses, as a number's node shows them.
    pub(super) fn configuration(&self, account: &Account, application: Option<&str>) -> Value {
        let mut shown = json!({});
        if let Some(url) = application {
            shown["application"] = json!(url);
        }
        if let Some(Subscription::To(url)) = self.accounts.get(&account.waba_id) {
            shown["whatsapp_business_account"] = json!(&**url);
        }
        if let Some(url) = self.numbers.get(&account.phone_number_id) {
            shown["phone_number"] = json!(&**url);
        }
        shown
    }
}

/// Who is subscribed to a business account.
pub(super) fn list(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, call)?;
    let app = json!({"id": "8000", "name": "OmniStream", "link": "https://app.example/8000"});
    let mut data = vec![json!({"whatsapp_business_api_data": app})];
    match desk.state().callbacks.accounts.get(&call.id) {
        None => {}
        Some(Subscription::Ended) => data.clear(),
        Some(Subscription::To(url)) => data[0]["override_callback_uri"] = json!(&**url),
    }
    Ok(Reply::Json(json!({"data": data})))
}

/// Subscribes to a business account, with an address of its own once that proved itself.
pub(super) fn subscribe(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, call)?;
    let Some(url) = call.parameter("override_callback_uri") else {
        desk.state().callbacks.accounts.remove(&call.id);
        return done();
    };
    let token = call.needed("verify_token")?;
    let (desk, waba_id) = (Arc::clone(desk), call.id.clone());
    Ok(Reply::Later(Box::pin(async move {
        verify(&desk, &url, &token).await?;
        let to = Subscription::To(url.into());
        desk.state().callbacks.accounts.insert(waba_id, to);
        done()
    })))
}

/// Ends the subscription: no webhook of the business account is delivered any more.
pub(super) fn unsubscribe(desk: &Arc<Desk>, call: &Call) -> Answered {
    known(desk, call)?;
    desk.state().callbacks.accounts.insert(call.id.clone(), Subscription::Ended);
    done()
}

/// Changes a number: its address for webhooks, which an empty one takes away, and its pin.
pub(super) fn configure(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let body = call.json()?;
    let wanted = &body["webhook_configuration"];
    let Some(url) = wanted["override_callback_uri"].as_str() else {
        return Err(GraphError::missing("webhook_configuration.override_callback_uri"));
    };
    if url.is_empty() {
        desk.state().callbacks.numbers.remove(&call.id);
        return done();
    }
    let token =
        wanted["verify_token"].as_str().ok_or_else(|| GraphError::missing("verify_token"))?;
    let (desk, number) = (Arc::clone(desk), call.id.clone());
    let (url, token) = (url.to_owned(), token.to_owned());
    Ok(Reply::Later(Box::pin(async move {
        verify(&desk, &url, &token).await?;
        desk.state().callbacks.numbers.insert(number, url.into());
        done()
    })))
}

fn known(desk: &Desk, call: &Call) -> Result<(), GraphError> {
    let is_page = desk.options.pages.iter().any(|page| page.id == call.id);
    if desk.knows_waba(&call.id) || is_page || call.id == logins::ME {
        Ok(())
    } else {
        Err(error::UNKNOWN_OBJECT)
    }
}

/// Asks the address to repeat a challenge, as Meta does before it delivers anything there.
async fn verify(desk: &Desk, url: &str, token: &str) -> Result<(), GraphError> {
    let query =
        [("hub.mode", "subscribe"), ("hub.challenge", CHALLENGE), ("hub.verify_token", token)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let url = format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' });
    let refused = || GraphError::invalid("The callback address could not be verified.").sub(2_200);
    let answer = desk.courier.http().get(url).send().await.map_err(|_| refused())?;
    let is_right = answer.status().as_u16() == 200;
    let said = answer.text().await.map_err(|_| refused())?;
    if is_right && said == CHALLENGE { Ok(()) } else { Err(refused()) }
}
