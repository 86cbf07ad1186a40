//! How often somebody may fail to log in, and register: counted in memory, by person and address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::time::Timestamp;

/// Counts within windows.
pub struct LoginLimits {
    window: Duration,
    failures_account: u32,
    failures_address: u32,
    registrations: u32,
    counts: Mutex<Counts>,
}

/// Since when, and how many.
type Counts = HashMap<What, (Timestamp, u32)>;

#[derive(Clone, PartialEq, Eq, Hash)]
enum What {
    Account(String),
    Address(IpAddr),
    Registration(IpAddr),
}

/// So many counts are kept; beyond it those whose window is over leave, then all.
const COUNTS_MAX: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

impl LoginLimits {
    /// With these limits.
    pub fn new(limits: &config::Limits) -> Self {
        Self {
            window: limits.login_window,
            failures_account: limits.login_failures_account,
            failures_address: limits.login_failures_address,
            registrations: limits.registrations_per_minute,
            counts: Mutex::default(),
        }
    }

    /// Whether a login may be tried; `Err`: again after so long.
    pub fn check(&self, email: &str, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        self.is_allowed(&mut self.counts(), email, address, now)
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
        let mut counts = self.counts();
        self.is_allowed(&mut counts, email, address, now)?;
        let account = What::Account(email.to_owned());
        if fits {
            counts.remove(&account);
        } else {
            self.count(&mut counts, account, self.window, now);
            self.count(&mut counts, What::Address(address), self.window, now);
        }
        Ok(())
    }

    fn is_allowed(
        &self,
        counts: &mut Counts,
        email: &str,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let account = What::Account(email.to_owned());
        let limits =
            [(account, self.failures_account), (What::Address(address), self.failures_address)];
        for (what, limit) in limits {
            if let Some((since, count)) = counts.get(&what).copied() {
                let over = since + self.window;
                if now >= over {
                    counts.remove(&what);
                } else if count >= limit {
                    return Err(over.since(now));
                }
            }
        }
        Ok(())
    }

    /// Whether a registration may be tried, which counts it; `Err`: again after so long.
    pub fn register(&self, address: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.counts();
        let count = self.count(&mut counts, What::Registration(address), MINUTE, now);
        if count > self.registrations {
            return Err(MINUTE);
        }
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, counts: &mut Counts, what: What, window: Duration, now: Timestamp) -> u32 {
        if counts.len() >= COUNTS_MAX {
            counts.retain(|_, (since, _)| now < *since + self.window);
            if counts.len() >= COUNTS_MAX {
                counts.clear();
            }
        }
        let entry = counts.entry(what).or_insert((now, 0));
        if now >= entry.0 + window {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1
    }
}

#[cfg(test)]
mod tests {
    use super::LoginLimits;
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
}
