//! What a pod may reach outside the cluster, where its annotations narrow that: nothing, or the hosts that they name.
//!
//! It is read the same way where a pod is admitted and where it is enforced. A host that is named by name is reached
//! at the addresses that the pod's own look-ups gave for it, and at no other; so what is not looked up is not there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::names::is_dns1123_subdomain;

/// Whether the pod may reach anything outside: `"true"`, as without it, or `"false"`.
pub const ANNOTATION_ALLOW_OUTSIDE: &str = "coracle.dev/allow-outside";

/// The hosts outside that the pod may reach, and no others: `api.example.com`, `*.example.org:443`, `192.0.2.1`,
/// separated by commas.
pub const ANNOTATION_ALLOWED_HOSTS: &str = "coracle.dev/allowed-hosts";

/// The most hosts that a pod may name: each is compared with every name that it looks up.
pub const HOSTS_MAX: usize = 64;

/// The most addresses that are remembered for the names that a pod may reach; then the oldest is forgotten, and its
/// name must be looked up again.
const LEARNED_MAX: usize = 1024;

/// An annotation that cannot be read. The message is without its name and value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct InvalidOutside {
    /// Which one.
    pub annotation: &'static str,
    /// What it says.
    pub value: String,
    /// What is wrong, and the fix.
    pub why: String,
}

/// The narrowed outside of one pod.
#[derive(Debug, Default)]
pub struct Outside {
    hosts: Vec<Host>,
    learned: Mutex<Learned>,
}

/// What was learned is no part of what it says.
impl PartialEq for Outside {
    fn eq(&self, other: &Self) -> bool {
        self.hosts == other.hosts
    }
}

impl Eq for Outside {}

/// A host, or several, and the port that may be reached there; all if it has none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: Named,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// `*`
    All,
    /// This one.
    Name(String),
    /// All whose names end in a dot and this.
    Below(String),
    /// No name.
    Address(IpAddr),
}

/// Which hosts have which addresses, by their place in the list.
#[derive(Debug, Default)]
struct Learned {
    hosts: HashMap<IpAddr, Vec<usize>>,
    oldest_first: VecDeque<IpAddr>,
}

impl Outside {
    /// What a pod's annotations say; nothing if they leave it at everything.
    ///
    /// # Errors
    /// [`InvalidOutside`]: a bound that silently is not there would be found out too late.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Option<Self>, InvalidOutside> {
        let refused =
            |annotation, value: &str, why: String| InvalidOutside { annotation, value: value.to_owned(), why };
        let allow = match annotations.get(ANNOTATION_ALLOW_OUTSIDE).map(String::as_str) {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                return Err(refused(ANNOTATION_ALLOW_OUTSIDE, other, "must be \"true\" or \"false\"".to_owned()));
            }
        };
        let hosts = match (allow, annotations.get(ANNOTATION_ALLOWED_HOSTS)) {
            (None | Some(true), None) => return Ok(None),
            (Some(false), None) => Vec::new(),
            (Some(true), Some(text)) => {
                let why =
                    format!("may not be set when {ANNOTATION_ALLOW_OUTSIDE} is \"true\", which allows every host");
                return Err(refused(ANNOTATION_ALLOWED_HOSTS, text, why));
            }
            (None | Some(false), Some(text)) => {
                hosts(text).map_err(|why| refused(ANNOTATION_ALLOWED_HOSTS, text, why))?
            }
        };
        Ok(Some(Self { hosts, learned: Mutex::default() }))
    }

    /// Whether the pod may ask for a name outside. What it may not reach it does not ask for, so that nothing leaves
    /// by the question.
    #[must_use]
    pub fn may_ask(&self, name: &str) -> bool {
        self.hosts_named(name).next().is_some()
    }

    /// A name that was asked for has these addresses.
    pub fn learn(&self, name: &str, addresses: &[IpAddr]) {
        let hosts: Vec<usize> = self.hosts_named(name).collect();
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        for ip in addresses {
            learned.learn(ip.to_canonical(), &hosts);
        }
    }

    /// Whether the pod may reach this address outside.
    #[must_use]
    pub fn may_reach(&self, ip: IpAddr, port: u16) -> bool {
        let ip = ip.to_canonical();
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let known_as = learned.hosts.get(&ip).map(Vec::as_slice).unwrap_or_default();
        self.hosts.iter().enumerate().any(|(place, host)| {
            let is_it = match host.name {
                Named::All => true,
                Named::Address(address) => address == ip,
                Named::Name(_) | Named::Below(_) => known_as.contains(&place),
            };
            is_it && host.port.is_none_or(|allowed| allowed == port)
        })
    }

    fn hosts_named(&self, name: &str) -> impl Iterator<Item = usize> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let places = self.hosts.iter().enumerate();
        places.filter(move |(_, host)| host.name.is(&name)).map(|(place, _)| place)
    }
}

impl Named {
    /// Whether the name, in lower case, is one of these.
    fn is(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Name(own) => own == name,
            Self::Below(domain) => {
                name.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            Self::Address(_) => false,
        }
    }
}

impl Learned {
    fn learn(&mut self, ip: IpAddr, hosts: &[usize]) {
        if !self.hosts.contains_key(&ip) {
            self.oldest_first.push_back(ip);
            if self.oldest_first.len() > LEARNED_MAX
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.hosts.remove(&oldest);
            }
        }
        let known = self.hosts.entry(ip).or_default();
        for host in hosts {
            if !known.contains(host) {
                known.push(*host);
            }
        }
    }
}

fn hosts(text: &str) -> Result<Vec<Host>, String> {
    let hosts: Vec<Host> = text.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>()?;
    if hosts.len() > HOSTS_MAX {
        return Err(format!("must have at most {HOSTS_MAX} hosts"));
    }
    Ok(hosts)
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || {
            format!(
                "{text:?} is no host: write a name, '*.' and a domain, or an address, and ':' and a port where only \
                 that is allowed, as in api.example.com, *.example.org:443 or [2001:db8::1]:443"
            )
        };
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { name: Named::Address(ip.to_canonical()), port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(invalid)?)),
            None => (text, None),
        };
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        let lower = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        let name = match (bare.parse::<IpAddr>(), lower.strip_prefix("*.")) {
            (Ok(ip), _) => Named::Address(ip.to_canonical()),
            (Err(_), Some(domain)) if is_dns1123_subdomain(domain) => Named::Below(domain.to_owned()),
            (Err(_), None) if lower == "*" => Named::All,
            (Err(_), None) if is_dns1123_subdomain(&lower) => Named::Name(lower),
            (Err(_), _) => return Err(invalid()),
        };
        Ok(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(pairs: &[(&str, &str)]) -> Result<Option<Outside>, InvalidOutside> {
        Outside::of(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn hosts_of(text: &str) -> Outside {
        outside(&[(ANNOTATION_ALLOWED_HOSTS, text)]).unwrap().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_annotations_everything_is_allowed_and_with_false_nothing() {
        assert!(outside(&[]).unwrap().is_none());
        assert!(outside(&[(ANNOTATION_ALLOW_OUTSIDE, "true")]).unwrap().is_none());
        let closed = outside(&[(ANNOTATION_ALLOW_OUTSIDE, "false")]).unwrap().unwrap();
        assert!(!closed.may_ask("example.com") && !closed.may_reach(ip("192.0.2.1"), 80));
    }

    #[test]
    fn a_name_is_reached_at_the_addresses_that_were_looked_up() {
        let outside = hosts_of("api.example.com, *.Example.org:443");
        assert!(outside.may_ask("API.example.com.") && outside.may_ask("a.b.example.org"));
        assert!(
            !outside.may_ask("example.org")
                && !outside.may_ask("badexample.org")
                && !outside.may_ask("x.api.example.com")
        );
        assert!(!outside.may_reach(ip("192.0.2.1"), 80));
        outside.learn("api.example.com", &[ip("192.0.2.1")]);
        outside.learn("a.example.org", &[ip("::ffff:192.0.2.2")]);
        outside.learn("elsewhere.net", &[ip("192.0.2.3")]);
        let reached = |last: u8, port| outside.may_reach(IpAddr::from([192, 0, 2, last]), port);
        assert_eq!([reached(1, 80), reached(2, 443), reached(2, 80), reached(3, 443)], [true, true, false, false]);
    }

    #[test]
    fn an_address_and_a_star_need_no_look_up() {
        let outside = hosts_of("192.0.2.1:5432,[2001:db8::1]:443,2001:db8::2");
        let reached = |text: &str, port| outside.may_reach(ip(text), port);
        assert!(reached("192.0.2.1", 5432) && reached("2001:db8::1", 443) && reached("2001:db8::2", 9));
        assert!(!reached("192.0.2.1", 80) && !reached("2001:db8::1", 80) && !outside.may_ask("192.0.2.1"));
        let secure = hosts_of("*:443");
        assert!(secure.may_ask("any.example") && secure.may_reach(ip("192.0.2.9"), 443));
        assert!(!secure.may_reach(ip("192.0.2.9"), 80));
    }

    #[test]
    fn what_is_learned_is_bounded() {
        let outside = hosts_of("a.example");
        for number in 0..u32::try_from(LEARNED_MAX).unwrap() + 1 {
            outside.learn("a.example", &[IpAddr::from(number.to_be_bytes())]);
        }
        assert!(!outside.may_reach(ip("0.0.0.0"), 80), "the oldest is forgotten");
        assert!(outside.may_reach(ip("0.0.0.1"), 80) && outside.may_reach(ip("0.0.4.0"), 80));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_fix() {
        let why = |pairs: &[(&str, &str)]| outside(pairs).map(|_| ()).unwrap_err().why;
        assert_eq!(why(&[(ANNOTATION_ALLOW_OUTSIDE, "no")]), "must be \"true\" or \"false\"");
        assert_eq!(
            why(&[(ANNOTATION_ALLOW_OUTSIDE, "true"), (ANNOTATION_ALLOWED_HOSTS, "a.example")]),
            "may not be set when coracle.dev/allow-outside is \"true\", which allows every host"
        );
        for bad in [
            "",
            "a.example,",
            "https://a.example",
            "a.example/x",
            "a.example:0",
            "a.example:http",
            "*example",
            "a_b",
            "[::1",
        ] {
            let said = why(&[(ANNOTATION_ALLOWED_HOSTS, bad)]);
            assert!(said.ends_with("as in api.example.com, *.example.org:443 or [2001:db8::1]:443"), "{bad}: {said}");
        }
        let many = vec!["a.example"; HOSTS_MAX + 1].join(",");
        assert_eq!(why(&[(ANNOTATION_ALLOWED_HOSTS, &many)]), "must have at most 64 hosts");
    }
}
