//! Makes a range of addresses this machine's own: one route, `local 10.42.0.0/16 dev lo`, spoken to the kernel.
//!
//! The route is taken away by the last server of this machine that uses it. One that a killed server left does no
//! harm: nobody answers at its addresses, and the next server takes it over.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use crate::cidr::Cidr;

/// Where the main table of routes is to be read.
const ROUTES: &str = "/proc/net/route";

/// Where the kernel says which number the loopback device has.
const LOOPBACK_INDEX: &str = "/sys/class/net/lo/ifindex";

/// Room for the kernel's answer, which repeats the question.
const ANSWER_BYTES_MAX: usize = 1024;

/// Why addresses cannot be made this machine's own.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The kernel does not let us.
    #[error("a route needs root or CAP_NET_ADMIN")]
    NotPermitted,
    /// They mean something else here.
    #[error("{range} is in use on this machine already, by device {device}")]
    InUse {
        /// The range.
        range: Cidr,
        /// Who has it.
        device: String,
    },
    /// Only ranges of IPv4 are known here.
    #[error("{0} is no range of IPv4")]
    Family(Cidr),
    /// Something else.
    #[error("a route for {range} cannot be made")]
    Route {
        /// The range.
        range: Cidr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Ranges that are this machine's own, as long as this is held.
#[derive(Debug)]
pub struct LocalRanges(Vec<Held>);

/// A range, and the lock that everybody holds who uses it.
#[derive(Debug)]
struct Held {
    range: Cidr,
    users: File,
}

impl LocalRanges {
    /// Makes `ranges` this machine's own. `locks` is a directory of the whole machine, as `/run`.
    ///
    /// # Errors
    /// [`LocalError`] of the first that cannot be; then none is.
    pub fn hold(ranges: &[Cidr], locks: &Path) -> Result<Self, LocalError> {
        let mut held = Self(Vec::new());
        for range in ranges {
            let failed = |source| LocalError::Route { range: *range, source };
            let routes = std::fs::read_to_string(ROUTES).map_err(failed)?;
            if let Some(device) = user(&routes, *range) {
                return Err(LocalError::InUse { range: *range, device });
            }
            let users = File::create(locks.join(lock_name(*range))).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => LocalError::NotPermitted,
                _ => failed(error),
            })?;
            users.lock_shared().map_err(failed)?;
            match ask(Change::Add, *range) {
                Ok(()) | Err(Errno::EXIST) => held.0.push(Held { range: *range, users }),
                Err(Errno::PERM | Errno::ACCESS) => return Err(LocalError::NotPermitted),
                Err(Errno::AFNOSUPPORT) => return Err(LocalError::Family(*range)),
                Err(error) => return Err(failed(error.into())),
            }
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Somebody else who uses the range holds the lock as well, and will take the route away.
        if self.users.try_lock().is_ok()
            && let Err(error) = ask(Change::Remove, self.range)
        {
            tracing::debug!(%error, range = %self.range, "a route was not taken away");
        }
    }
}

/// The lock's name: processes in different network namespaces have different routes.
fn lock_name(range: Cidr) -> String {
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    format!("coracle-{digits}-{}.lock", range.to_string().replace('/', "_"))
}

/// The device that has some of the range's addresses, by `/proc/net/route`: lines of device, destination, gateway,
/// flags, references, use, metric and mask; addresses as the machine's own integers in hexadecimal.
fn user(routes: &str, range: Cidr) -> Option<String> {
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| {
            u32::from_str_radix(fields.get(at)?, 16).ok().map(|value| u32::from_be_bytes(value.to_ne_bytes()))
        };
        let (destination, mask) = (number(1)?, number(7)?);
        // The way to the rest of the world is not in the way.
        let theirs: Cidr = format!("{}/{}", Ipv4Addr::from(destination), mask.count_ones()).parse().ok()?;
        let overlaps = theirs.covers(range) || range.covers(theirs);
        (mask != 0 && overlaps).then(|| (*fields.first().unwrap_or(&"")).to_owned())
    })
}

/// What is asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

fn ask(change: Change, range: Cidr) -> Result<(), Errno> {
    let loopback = std::fs::read_to_string(LOOPBACK_INDEX).ok().and_then(|text| text.trim().parse().ok());
    let message = message(change, range, loopback.unwrap_or(1)).ok_or(Errno::AFNOSUPPORT)?;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; ANSWER_BYTES_MAX];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    outcome(answer.get(..length).unwrap_or_default())
}

// Of <linux/netlink.h> and <linux/rtnetlink.h>.
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const HEADER_BYTES: usize = 16;
const AF_INET: u8 = 2;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;

/// The message for a route by which a range is local. Who connects there without an address of his own comes from
/// 127.0.0.1, and not from the very address he connects to, which is the kernel's choice otherwise.
fn message(change: Change, range: Cidr, device: u32) -> Option<Vec<u8>> {
    let Some(IpAddr::V4(first)) = range.nth(0) else { return None };
    let (kind, more) = match change {
        Change::Add => (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL),
        Change::Remove => (RTM_DELROUTE, 0),
    };
    let mut body = vec![AF_INET, range.prefix(), 0, 0, RT_TABLE_LOCAL, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL];
    body.extend(0_u32.to_ne_bytes());
    for (attribute, value) in
        [(RTA_DST, first.octets()), (RTA_OIF, device.to_ne_bytes()), (RTA_PREFSRC, Ipv4Addr::LOCALHOST.octets())]
    {
        body.extend(8_u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
    }
    let length = u32::try_from(HEADER_BYTES + body.len()).ok()?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | more).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    Some(message)
}

/// What the kernel answered: its header, and a negative number for an error or 0.
fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let code = answer.get(HEADER_BYTES..HEADER_BYTES + 4).and_then(|bytes| bytes.try_into().ok());
    match (kind, code.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_that_another_device_has_is_left_alone() {
        // As a little-endian machine writes them.
        let routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                      eth0 00000000 010011AC 0003 0 0 0 00000000 0 0 0\n\
                      cni0 00002A0A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        if cfg!(target_endian = "little") {
            assert_eq!(user(routes, range("10.42.0.0/16")).as_deref(), Some("cni0"));
            assert_eq!(user(routes, range("10.43.0.0/16")), None, "the default route is nobody's");
        }
    }

    #[test]
    fn the_kernel_is_asked_in_its_own_words() {
        let message = message(Change::Add, range("10.42.0.0/16"), 1).unwrap();
        assert_eq!(message.len(), 52);
        assert_eq!(message[16..24], [2, 16, 0, 0, 255, 4, 254, 2]);
        assert_eq!(message[32..36], [10, 42, 0, 0]);
        assert_eq!(super::message(Change::Add, range("fd00::/64"), 1), None);
    }

    #[test]
    fn its_answer_is_an_error_number_or_none() {
        let answer = |code: i32| {
            [vec![36, 0, 0, 0], NLMSG_ERROR.to_ne_bytes().to_vec(), vec![0; 10], code.to_ne_bytes().to_vec()].concat()
        };
        assert_eq!(outcome(&answer(0)), Ok(()));
        assert_eq!(outcome(&answer(-17)), Err(Errno::EXIST));
        assert_eq!(outcome(&[]), Err(Errno::PROTO));
    }
}
