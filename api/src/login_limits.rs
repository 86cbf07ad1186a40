//! How often somebody may fail to log in, and register: counted in memory, by person and address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::time::Timestamp;

/// Counts within windows.
pub struct LoginLimits {
    failures_account: u32,
    failures_address: u32,
    registrations: u32,
    failures: Mutex<Counts<Whose>>,
    /// Apart: whoever has no password hashed makes no failure be forgotten.
    registered: Mutex<Counts<IpAddr>>,
}

#[derive(PartialEq, Eq, Hash)]
enum Whose {
    Account(String),
    Address(IpAddr),
}

/// What is counted in windows of a length.
struct Counts<K> {
    window: Duration,
    /// Since when, and how many.
    all: HashMap<K, (Timestamp, u32)>,
}

/// So many counts are kept; beyond it those whose window is over leave, then the half that has the
/// fewest, of as many the oldest.
const COUNTS_MAX: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

impl LoginLimits {
    /// With these limits.
    pub fn new(limits: &config::Limits) -> Self {
        Self {
            failures_account: limits.login_failures_account,
            failures_address: limits.login_failures_address,
            registrations: limits.registrations_per_minute,
            failures: Mutex::new(Counts::new(limits.login_window)),
            registered: Mutex::new(Counts::new(MINUTE)),
        }
    }

    /// Whether a login may be tried; `Err`: again after so long.
    pub fn check(&self, email: &str, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.is_allowed(&lock(&self.failures), email, address, now)
    }

    /// A login was tried, and counts as failed, or forgets the person's failures. It is judged once
    /// more: of many that are tried at once no more are answered than of as many one after another.
    pub fn tried(
        &self,
        email: &str,
        address: IpAddr,
        fits: bool,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut failures = lock(&self.failures);
        self.is_allowed(&failures, email, address, now)?;
        let account = Whose::Account(email.to_owned());
        if fits {
            failures.all.remove(&account);
        } else {
            failures.count(account, now);
            failures.count(Whose::Address(network(address)), now);
        }
        Ok(())
    }

    /// A person has another password: whatever was tried before is no try at this one.
    pub fn forgive(&self, email: &str) {
        lock(&self.failures).all.remove(&Whose::Account(email.to_owned()));
    }

    fn is_allowed(
        &self,
        failures: &Counts<Whose>,
        email: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let account = (Whose::Account(email.to_owned()), self.failures_account);
        let address = (Whose::Address(network(address)), self.failures_address);
        for (whose, limit) in [account, address] {
            if let Some((over, count)) = failures.get(&whose, now)
                && count >= limit
            {
                return Err(over.since(now));
            }
        }
        Ok(())
    }

    /// Whether a registration may be tried, which counts it; `Err`: again after so long.
    pub fn register(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        if lock(&self.registered).count(network(address), now) > self.registrations {
            return Err(MINUTE);
        }
        Ok(())
    }
}

fn lock<K>(counts: &Mutex<Counts<K>>) -> MutexGuard<'_, Counts<K>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose an address is: an IPv6 network has more of them than anybody could count.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn new(window: Duration) -> Self {
        Self { window, all: HashMap::new() }
    }

    /// How many there are, and when they are over.
    fn get(&self, key: &K, now: Timestamp) -> Option<(Timestamp, u32)> {
        let (since, count) = *self.all.get(key)?;
        let over = since + self.window;
        (now < over).then_some((over, count))
    }

    /// One more. Answers how many there are.
    fn count(&mut self, key: K, now: Timestamp) -> u32 {
        if self.all.len() >= COUNTS_MAX && !self.all.contains_key(&key) {
            self.make_room(now);
        }
        let entry = self.all.entry(key).or_insert((now, 0));
        if now >= entry.0 + self.window {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1
    }

    fn make_room(&mut self, now: Timestamp) {
        let window = self.window;
        self.all.retain(|_, (since, _)| now < *since + window);
        if self.all.len() >= COUNTS_MAX {
            let mut all: Vec<_> = self.all.drain().collect();
            all.select_nth_unstable_by_key(COUNTS_MAX / 2, |(_, (since, count))| (*count, *since));
            self.all.extend(all.drain(COUNTS_MAX / 2..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{COUNTS_MAX, LoginLimits, lock};
    use engine::time::Timestamp;
    use std::net::IpAddr;
    use std::time::Duration;

    #[test]
    fn a_person_is_locked_out_after_so_many_failures_until_the_window_is_over() {
        for (login_failures_account, secs) in [(10, 900), (1, 900), (3, 5)] {
            let login_window = Duration::from_secs(secs);
            let defaults = config::Config::default().limits;
            let limits = config::Limits { login_failures_account, login_window, ..defaults };
            let limits = LoginLimits::new(&limits);
            let (address, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(0));
            for _ in 0..login_failures_account {
                limits.check("a@b.c", address, now).unwrap();
                limits.tried("a@b.c", address, false, now).unwrap();
            }
            assert_eq!(limits.check("a@b.c", address, now), Err(login_window));
            assert_eq!(limits.check("other@b.c", address, now), Ok(()));
            assert!(limits.check("a@b.c", address, now + login_window * 9 / 10).is_err());
            assert_eq!(limits.check("a@b.c", address, now + login_window), Ok(()));
        }
    }

    #[test]
    fn a_success_forgets_the_persons_failures_and_an_address_has_its_own_limit() {
        let limits = LoginLimits::new(&config::Config::default().limits);
        let (address, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(0));
        for n in 0..100 {
            let person = format!("{n}@b.c");
            limits.check(&person, address, now).unwrap();
            limits.tried(&person, address, false, now).unwrap();
            if n < 99 {
                limits.tried(&person, address, true, now).unwrap();
            }
        }
        assert!(limits.check("new@b.c", address, now).is_err());
        assert!(limits.check("new@b.c", IpAddr::from([127, 0, 0, 2]), now).is_ok());
    }

    #[test]
    fn of_many_that_are_tried_at_once_no_more_are_answered_than_one_after_another() {
        let limits = LoginLimits::new(&config::Config::default().limits);
        let (address, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(0));
        for _ in 0..50 {
            limits.check("a@b.c", address, now).unwrap();
        }
        let answered = (0..49).filter(|_| limits.tried("a@b.c", address, false, now).is_ok());
        assert_eq!(answered.count(), 10);
        assert!(limits.tried("a@b.c", address, true, now).is_err(), "nor whether it fits");
        assert!(limits.check("other@b.c", address, now).is_ok());
    }

    #[test]
    fn an_address_makes_so_many_organizations_a_minute() {
        let limits = LoginLimits::new(&config::Config::default().limits);
        let (address, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(0));
        for _ in 0..30 {
            limits.register(address, now).unwrap();
        }
        assert_eq!(limits.register(address, now), Err(Duration::from_secs(60)));
        assert_eq!(limits.register(IpAddr::from([127, 0, 0, 2]), now), Ok(()));
        assert_eq!(limits.register(address, Timestamp(60_000)), Ok(()));
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_count_as_one_and_a_mapped_one_as_what_it_is() {
        let (limits, now) = (LoginLimits::new(&config::Config::default().limits), Timestamp(0));
        let at = |address: &str| address.parse::<IpAddr>().unwrap();
        for n in 0..100 {
            let address = at(&format!("2001:db8::{n}:7"));
            limits.tried(&format!("{n}@b.c"), address, false, now).unwrap();
        }
        assert!(limits.check("new@b.c", at("2001:db8:0:0:ffff::1"), now).is_err());
        assert_eq!(limits.check("new@b.c", at("2001:db8:0:1::1"), now), Ok(()));
        for _ in 0..30 {
            limits.register(at("::ffff:192.0.2.1"), now).unwrap();
        }
        assert!(limits.register(at("192.0.2.1"), now).is_err());
        assert_eq!(limits.register(at("192.0.2.2"), now), Ok(()));
    }

    #[test]
    fn nobody_makes_a_lockout_be_forgotten_by_doing_a_little_from_everywhere() {
        let limits = LoginLimits::new(&config::Config::default().limits);
        let (address, now) = (IpAddr::from([127, 0, 0, 1]), Timestamp(0));
        for _ in 0..10 {
            limits.tried("a@b.c", address, false, now).unwrap();
        }
        let many = u32::try_from(COUNTS_MAX).unwrap();
        let everywhere = || (0..many).map(|n| IpAddr::from(n.to_be_bytes()));
        let later = Timestamp(1);
        everywhere().for_each(|from| limits.register(from, later).unwrap());
        assert!(limits.check("a@b.c", address, later).is_err());
        for from in everywhere() {
            limits.tried(&from.to_string(), from, false, later).unwrap();
        }
        assert!(limits.check("a@b.c", address, later).is_err());
        assert!(lock(&limits.failures).all.len() <= COUNTS_MAX);
        limits.register(address, later + Duration::from_secs(60)).unwrap();
        assert_eq!(lock(&limits.registered).all.len(), 1, "the others' minute is over");
    }
}
