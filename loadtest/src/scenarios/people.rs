//! Who writes to whom, by which channel, and the webhooks that providers post of it.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, KeyInit};
use serde::Deserialize;
use sha2::Sha256;

use super::scenario::{Load, People};
use crate::body::{self, FIRST_NUMBER, TEXT};
use crate::customers::{Customers, drawn, mixed};
use crate::marks::Mark;

/// A channel by which customers write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Channel {
    Whatsapp,
    Messenger,
    Instagram,
    Email,
}

/// An organization of the server, and how its webhooks are proven.
pub(super) struct Tenant {
    /// Of somebody who may see everything.
    pub(super) token: String,
    accounts: Vec<Account>,
}

/// An account of a channel.
#[derive(Clone)]
struct Account {
    channel: Channel,
    /// What its webhooks name it by.
    key: String,
    secret: Hmac<Sha256>,
}

/// All customers of a run.
pub(super) struct Population {
    customers: Customers,
    tenants: u64,
    noisy: f64,
    seed: u64,
    shares: [(Channel, u32); 4],
}

/// A webhook in the making, in room that is used again.
#[derive(Default)]
pub(super) struct Request {
    body: String,
    pub(super) bytes: Vec<u8>,
}

/// Drawn apart, so that one choice says nothing of another.
const OF_TENANT: u64 = 0x7465_6E61_6E74_0001;
const OF_CHANNEL: u64 = 0x6368_616E_6E65_6C02;
const OF_TIME: u64 = 0x7469_6D65_0000_0003;
/// How long ago what comes late was written, at most, in seconds.
const BELATED_MAX: f64 = 120.0;

impl Tenant {
    pub(super) fn new(token: String) -> Self {
        Self { token, accounts: Vec::new() }
    }

    /// Adds an account whose webhooks are signed with this secret.
    pub(super) fn add(&mut self, channel: Channel, key: String, secret: &str) {
        let secret =
            Hmac::new_from_slice(secret.as_bytes()).expect("a secret of any length is a key");
        self.accounts.push(Account { channel, key, secret });
    }

    /// Whether customers can write by this channel.
    pub(super) fn has(&self, channel: Channel) -> bool {
        self.accounts.iter().any(|account| account.channel == channel)
    }
}

impl Channel {
    pub(super) const ALL: [Self; 4] =
        [Self::Whatsapp, Self::Messenger, Self::Instagram, Self::Email];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Messenger => "messenger",
            Self::Instagram => "instagram",
            Self::Email => "email",
        }
    }

    /// Where providers post its webhooks.
    fn path(self) -> &'static str {
        match self {
            Self::Whatsapp => "/webhook",
            Self::Messenger => "/webhook/messenger",
            Self::Instagram => "/webhook/instagram",
            Self::Email => "/webhook/email",
        }
    }
}

impl Population {
    pub(super) fn new(people: &People, seed: u64) -> Self {
        let customers = Customers::busy(people.customers, people.zipf, seed);
        let (tenants, noisy) = (people.tenants, people.noisy);
        Self { customers, tenants, noisy, seed, shares: people.channels.shares() }
    }

    /// Who writes the message number `n`, or is written to by it.
    pub(super) fn of(&self, n: u64) -> u64 {
        let customer = self.customers.of(n);
        if self.noisy <= 0.0 {
            return customer;
        }
        // Of those around this one who are of the tenant that was drawn.
        let first = customer - customer % self.tenants;
        match drawn(self.seed ^ OF_TENANT ^ mixed(n)) < self.noisy {
            true => first,
            false => first + 1 + customer % (self.tenants - 1),
        }
    }

    /// To whose organization a customer writes.
    pub(super) fn tenant(&self, customer: u64) -> usize {
        (customer % self.tenants) as usize
    }

    /// By which channel a customer writes.
    pub(super) fn channel(&self, customer: u64) -> Channel {
        let all: u32 = self.shares.iter().map(|(_, share)| share).sum();
        // Each tenant's customers are spread alike.
        let mut at = drawn(self.seed ^ OF_CHANNEL ^ mixed(customer)) * f64::from(all);
        for (channel, share) in self.shares {
            at -= f64::from(share);
            if at < 0.0 {
                return channel;
            }
        }
        Channel::Whatsapp
    }

    /// The channels by which somebody writes.
    pub(super) fn channels(&self) -> impl Iterator<Item = Channel> {
        self.shares.into_iter().filter(|(_, share)| *share > 0).map(|(channel, _)| channel)
    }

    /// How a text that is about a customer begins, whoever writes it.
    pub(super) fn begin(customer: u64) -> String {
        format!("c{customer} ")
    }

    /// Whose conversation begins with this.
    pub(super) fn of_text(text: &str) -> Option<u64> {
        text.strip_prefix('c')?.split_once(' ')?.0.parse().ok()
    }

    /// Writes the webhook with the message number `n` of a customer, who wrote it at this time since
    /// 1970 or, if it comes late, before.
    pub(super) fn webhook(
        &self,
        (n, customer, at): (u64, u64, Duration),
        (host, mark): (&str, &Mark),
        tenants: &[Tenant],
        load: &Load,
        request: &mut Request,
    ) {
        let channel = self.channel(customer);
        let accounts = &tenants[self.tenant(customer)].accounts;
        let account = accounts.iter().find(|account| account.channel == channel);
        let account = account.expect("every tenant has all channels by which customers write");
        let text = format!("{}{TEXT}", Self::begin(customer));
        let at = at.saturating_sub(self.delay(n, load.belated));
        let id = mark.of(n);
        let Request { body, bytes } = request;
        body.clear();
        bytes.clear();
        let (from, key) = (FIRST_NUMBER + customer, &account.key);
        match channel {
            Channel::Whatsapp => {
                let text = body::Text { from, id: id.clone(), at, says: &text };
                body::whatsapp(key, std::iter::once(text), body);
            }
            Channel::Messenger => messaging("page", key, (customer, &id, &text), at, body),
            Channel::Instagram => messaging("instagram", key, (customer, &id, &text), at, body),
            Channel::Email => mail(key, (customer, &id, &text), body),
        }
        let path = channel.path();
        bytes.extend_from_slice(b"POST ");
        bytes.extend_from_slice(path.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        bytes.extend_from_slice(host.as_bytes());
        bytes.extend_from_slice(b"\r\ncontent-type: application/json\r\n");
        let header: &[u8] = match channel {
            Channel::Email => b"x-email-webhook-signature",
            _ => b"x-hub-signature-256",
        };
        body::sign(&account.secret, header, body, bytes);
        body::end(body, bytes);
    }

    /// How long ago the message number `n` was written, as far as its provider says.
    fn delay(&self, n: u64, belated: f64) -> Duration {
        let at = drawn(self.seed ^ OF_TIME ^ mixed(n));
        match at < belated {
            true => Duration::from_secs_f64(BELATED_MAX * at / belated),
            false => Duration::ZERO,
        }
    }
}

/// A text by Messenger or Instagram.
fn messaging(
    object: &str,
    account: &str,
    (customer, id, text): (u64, &str, &str),
    at: Duration,
    body: &mut String,
) {
    let at = at.as_millis();
    let written = write!(
        body,
        concat!(
            r#"{{"object":"{object}","entry":[{{"id":"{account}","time":{at},"messaging":"#,
            r#"[{{"sender":{{"id":"91{customer:012}"}},"recipient":{{"id":"{account}"}},"#,
            r#""timestamp":{at},"message":{{"mid":"m_{id}","text":"{text}"}}}}]}}]}}"#
        ),
        object = object,
        account = account,
        at = at,
        customer = customer,
        id = id,
        text = text,
    );
    written.expect("a string takes what is written");
}

/// A mail; all mails of a customer are about one matter.
fn mail(inbox: &str, (customer, id, text): (u64, &str, &str), body: &mut String) {
    let written = write!(
        body,
        concat!(
            r#"{{"from":"Customer {customer} <c{customer}@customers.example>","to":"{inbox}","#,
            r#""subject":"Re: my lamp","text":"{text}","message_id":"<{id}@customers.example>","#,
            r#""references":"<first.c{customer}@customers.example>"}}"#
        ),
        customer = customer,
        inbox = inbox,
        text = text,
        id = id,
    );
    written.expect("a string takes what is written");
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{Channels, Load, People};
    use super::{Channel, Population, Request, Tenant};
    use crate::marks::Mark;
    use serde_json::Value;
    use std::time::Duration;

    fn population(people: &People) -> Population {
        Population::new(people, 4711)
    }

    #[test]
    fn the_noisy_tenant_gets_its_share_and_the_others_the_rest_alike() {
        let people = People { tenants: 4, noisy: 0.7, ..People::default() };
        let population = population(&people);
        let mut written = [0_u32; 4];
        for n in 0..100_000 {
            let customer = population.of(n);
            assert!(customer < people.customers);
            written[population.tenant(customer)] += 1;
        }
        assert!((69_000..71_000).contains(&written[0]), "{written:?}");
        assert!(written[1..].iter().all(|count| (8_000..12_500).contains(count)), "{written:?}");
    }

    #[test]
    fn customers_are_of_channels_by_their_shares_and_stay_of_theirs() {
        let population = population(&People::default());
        let of = |channel| (0..10_000).filter(|c| population.channel(*c) == channel).count();
        assert!((6_800..7_200).contains(&of(Channel::Whatsapp)));
        assert!((1_350..1_650).contains(&of(Channel::Instagram)));
        assert!((400..600).contains(&of(Channel::Email)));
        let channels = Channels { whatsapp: 0, messenger: 0, instagram: 0, email: 3 };
        let mails = self::population(&People { channels, ..People::default() });
        assert!((0..1_000).all(|customer| mails.channel(customer) == Channel::Email));
        assert_eq!(mails.channels().collect::<Vec<_>>(), [Channel::Email]);
    }

    #[test]
    fn each_webhook_is_a_body_of_its_channel_with_the_mark_in_its_id() {
        let people = People { tenants: 1, ..People::default() };
        let (population, mark) = (population(&people), Mark::new(7));
        let mut tenant = Tenant::new("t".to_owned());
        Channel::ALL.into_iter().for_each(|channel| tenant.add(channel, "77".to_owned(), "s"));
        let mut request = Request::default();
        for channel in Channel::ALL {
            let customer = (0..).find(|customer| population.channel(*customer) == channel).unwrap();
            let (load, tenants) = (Load::default(), std::slice::from_ref(&tenant));
            let at = Duration::from_secs(1_790_000_000);
            population.webhook((5, customer, at), ("h:1", &mark), tenants, &load, &mut request);
            let text = std::str::from_utf8(&request.bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
            assert!(head.contains(": sha256="), "{head}");
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(mark.number(body.to_string().as_bytes()), Some(5), "{body}");
            assert_eq!(Population::of_text(&Population::begin(customer)), Some(customer));
        }
    }

    #[test]
    fn what_comes_late_was_written_up_to_two_minutes_ago() {
        let population = population(&People::default());
        let late: Vec<_> = (0..10_000).map(|n| population.delay(n, 0.1).as_secs_f64()).collect();
        let count = late.iter().filter(|seconds| **seconds > 0.0).count();
        assert!((900..1_100).contains(&count), "{count}");
        assert!(late.iter().all(|seconds| *seconds < 120.0));
        assert!(late.iter().any(|seconds| *seconds > 100.0));
    }
}
