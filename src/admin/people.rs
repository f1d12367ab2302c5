//! Who is logged in to the console: passwords against the configuration's verifiers, cookies, CSRF tokens, and their ends.
//!
//! Nothing here is kept on disk: a restart logs everybody out. What a person may do is read from the configuration in force at
//! each request, so a reload that takes a role away takes effect at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};

use super::access::{Actor, Way};
use crate::auth::scram;
use crate::config::{Config, ConsoleRole, Secret, Verifier};

/// A login ends when nothing was asked for this long.
pub const IDLE: Duration = Duration::from_secs(30 * 60);
/// A login ends after this long whatever happens.
pub const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Logins of one person at once; the oldest ends when there is one more.
const LOGINS_PER_USER: usize = 8;
/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// What a cookie stands for is kept by the hash of the cookie, so that reading the memory does not give cookies.
type Key = [u8; 32];

/// Somebody who is logged in, at one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's name.
    pub user: String,
    /// What the person may do.
    pub role: ConsoleRole,
    /// What every form of the person must carry.
    pub csrf: String,
    /// Names the login.
    key: Key,
}

impl Person {
    /// The person as records name them.
    pub fn actor(&self) -> Actor {
        Actor { name: self.user.clone(), role: self.role, way: Way::Console }
    }
}

/// Everybody who is logged in.
#[derive(Debug, Default)]
pub struct People {
    logins: Mutex<HashMap<Key, Login>>,
}

#[derive(Debug)]
struct Login {
    user: String,
    csrf: String,
    /// The verifier that the password was held against: a new password ends the login.
    verifier: [u8; 32],
    since: Instant,
    last: Instant,
    /// A search that is still being typed: recorded once it rests.
    typing: Option<(String, Instant)>,
}

/// A random token for cookies and forms. `None` if the system has no randomness.
pub fn token() -> Option<String> {
    let mut bytes = [0u8; TOKEN_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Compares two texts without telling by time where they differ.
pub fn same(left: &str, right: &str) -> bool {
    left.len() == right.len() && left.bytes().zip(right.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// Holds a password against a user's verifier. Users who do not exist, have no password or no console role are held against one
/// that nothing fits, at the same cost.
pub fn password_fits(config: &Config, mock_secret: &[u8], user: &str, password: &Secret) -> Option<ConsoleRole> {
    let found = config.users.get(user);
    let known = found.and_then(|user| user.verifier.as_ref());
    let verifier = known.cloned().unwrap_or_else(|| scram::mock(mock_secret, user));
    let given = Verifier::of_password(password, &verifier.salt, verifier.iterations);
    let differs = given.stored_key.iter().zip(verifier.stored_key).fold(0, |differs, (a, b)| differs | (a ^ b));
    found.filter(|_| known.is_some() && differs == 0).and_then(|user| user.console)
}

fn key_of(cookie: &str) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, cookie.as_bytes()).as_ref());
    key
}

impl Login {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.last) >= IDLE || now.duration_since(self.since) >= LONGEST
    }
}

impl People {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Login>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a user in whose password fitted; gives the cookie's value. `None` if there is no randomness, or no such user any more.
    pub fn enter(&self, config: &Config, user: &str, now: Instant) -> Option<String> {
        let (cookie, csrf) = (token()?, token()?);
        let verifier = config.users.get(user)?.verifier.as_ref()?.stored_key;
        let mut logins = self.lock();
        let mut own: Vec<(Instant, Key)> =
            logins.iter().filter(|(_, login)| login.user == user).map(|(key, login)| (login.since, *key)).collect();
        own.sort_unstable();
        for (_, oldest) in own.iter().take((own.len() + 1).saturating_sub(LOGINS_PER_USER)) {
            logins.remove(oldest);
        }
        let login = Login { user: user.to_owned(), csrf, verifier, since: now, last: now, typing: None };
        logins.insert(key_of(&cookie), login);
        Some(cookie)
    }

    /// Who a cookie stands for, as the configuration has it now. `busy` is false for what a page asks by itself, which does not
    /// keep a login alive.
    pub fn who(&self, config: &Config, cookie: &str, busy: bool, now: Instant) -> Option<Person> {
        let key = key_of(cookie);
        let mut logins = self.lock();
        let login = logins.get_mut(&key)?;
        let user = config.users.get(&login.user);
        let unchanged =
            user.and_then(|user| user.verifier.as_ref()).is_some_and(|now| now.stored_key == login.verifier);
        let role = user.and_then(|user| user.console);
        match role.filter(|_| unchanged && !login.is_over(now)) {
            Some(role) => {
                if busy {
                    login.last = now;
                }
                Some(Person { user: login.user.clone(), role, csrf: login.csrf.clone(), key })
            }
            None => {
                logins.remove(&key);
                None
            }
        }
    }

    /// Ends a login.
    pub fn leave(&self, person: &Person) {
        self.lock().remove(&person.key);
    }

    /// How many logins there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Notes a search that may still be being typed. Gives the one before, if it was another search and has not been taken for
    /// recording: `user:a` on the way to `user:app` is one search.
    pub fn types(&self, person: &Person, filter: &str, now: Instant) -> Option<String> {
        let mut logins = self.lock();
        let login = logins.get_mut(&person.key)?;
        let before = login.typing.replace((filter.to_owned(), now))?.0;
        let grows = filter.starts_with(&before) || before.starts_with(filter);
        (!grows).then_some(before)
    }

    /// The search that was being typed, because the person goes on to something else.
    pub fn typed(&self, person: &Person) -> Option<String> {
        Some(self.lock().get_mut(&person.key)?.typing.take()?.0)
    }

    /// Searches that have rested for `rest`, with who asked them; and ends logins that are over.
    pub fn rested(&self, rest: Duration, now: Instant) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.lock().retain(|_, login| {
            let over = login.is_over(now);
            if login.typing.as_ref().is_some_and(|(_, at)| over || now.duration_since(*at) >= rest)
                && let Some((filter, _)) = login.typing.take()
            {
                found.push((login.user.clone(), filter));
            }
            !over
        });
        found
    }
}

/// Under which name failures of one address are counted, whatever user they name.
pub const ANY_USER: &str = "";
/// How many times a user's failures an address may have in all.
pub const ADDRESS_FACTOR: u32 = 5;

/// Whether a login from an address may be tried: by the user's failures there, and by all of the address.
pub fn may_try(throttle: &crate::auth::throttle::Throttle, address: IpAddr, user: &str, limit: u32) -> bool {
    let now = Instant::now();
    throttle.allows(address, user, limit, now)
        && throttle.allows(address, ANY_USER, limit.saturating_mul(ADDRESS_FACTOR), now)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(console: &str, password: &str) -> Config {
        let verifier =
            Verifier::of_password(&Secret::new(password), b"0123456789abcdef", crate::config::DEFAULT_ITERATIONS);
        let text = format!(
            "[databases.d]\nenvironment = \"e\"\npooled = \"postgres://u:p@127.0.0.1/d\"\n[environments.e.roles]\nr = \"read-only\"\n\
             [[users]]\nname = \"ann\"\nverifier = \"{}\"\nroles = {{ e = \"r\" }}\n{console}\n",
            verifier.to_text()
        );
        crate::config::parse(&text, Path::new("t.toml"), &|_| None).unwrap()
    }

    #[test]
    fn only_the_right_password_of_a_console_user_fits() {
        let with_role = config("console = \"auditor\"", "secret");
        let table = [
            ("ann", "secret", Some(ConsoleRole::Auditor)),
            ("ann", "Secret", None),
            ("ann", "", None),
            ("bob", "secret", None),
            ("", "", None),
        ];
        for (user, password, expected) in table {
            assert_eq!(password_fits(&with_role, b"m", user, &Secret::new(password)), expected, "{user} {password}");
        }
        assert_eq!(password_fits(&config("", "secret"), b"m", "ann", &Secret::new("secret")), None);
    }

    #[test]
    fn a_login_ends_when_idle_when_old_and_when_the_configuration_says_so() {
        let start = Instant::now();
        let own = config("console = \"viewer\"", "secret");
        let minutes = |count: u64| start + Duration::from_secs(60 * count);
        let people = People::default();
        let enter = || people.enter(&own, "ann", start).unwrap();
        let cookie = enter();
        assert_eq!(people.who(&own, &cookie, true, minutes(29)).unwrap().role, ConsoleRole::Viewer);
        assert!(people.who(&own, &cookie, false, minutes(58)).is_some(), "used at 29");
        assert!(people.who(&own, &cookie, true, minutes(59)).is_none(), "what the page asks by itself is no use");
        let cookie = enter();
        for minute in (0..720).step_by(20) {
            assert!(people.who(&own, &cookie, true, minutes(minute)).is_some(), "{minute}");
        }
        assert!(people.who(&own, &cookie, true, minutes(720)).is_none());
        for changed in [config("", "secret"), config("console = \"viewer\"", "another")] {
            let cookie = enter();
            assert!(people.who(&changed, &cookie, true, start).is_none());
            assert!(people.who(&own, &cookie, true, start).is_none(), "gone for good");
        }
        let cookie = enter();
        people.leave(&people.who(&own, &cookie, true, start).unwrap());
        assert!(people.who(&own, &cookie, true, start).is_none());
        assert!(people.who(&own, "", true, start).is_none());
    }

    #[test]
    fn a_person_has_a_few_logins_at_most() {
        let start = Instant::now();
        let own = config("console = \"viewer\"", "secret");
        let people = People::default();
        let cookies: Vec<String> =
            (0..20).map(|second| people.enter(&own, "ann", start + Duration::from_secs(second)).unwrap()).collect();
        assert_eq!(people.count(), LOGINS_PER_USER);
        assert!(people.who(&own, cookies.last().unwrap(), true, start + Duration::from_secs(20)).is_some());
        assert!(people.who(&own, cookies.first().unwrap(), true, start + Duration::from_secs(20)).is_none());
    }

    #[test]
    fn a_search_is_one_however_it_was_typed() {
        let start = Instant::now();
        let own = config("console = \"viewer\"", "secret");
        let people = People::default();
        let cookie = people.enter(&own, "ann", start).unwrap();
        let ann = people.who(&own, &cookie, true, start).unwrap();
        for typed in ["u", "user", "user:a", "user:ap", "user:app"] {
            assert_eq!(people.types(&ann, typed, start), None);
        }
        assert_eq!(people.types(&ann, "drop", start), Some("user:app".to_owned()));
        let rest = Duration::from_secs(3);
        assert!(people.rested(rest, start + Duration::from_secs(2)).is_empty());
        assert_eq!(people.rested(rest, start + rest), [("ann".to_owned(), "drop".to_owned())]);
        assert!(people.rested(rest, start + 2 * rest).is_empty());
        people.types(&ann, "user:", start);
        assert_eq!((people.typed(&ann), people.typed(&ann)), (Some("user:".to_owned()), None));
    }
}
