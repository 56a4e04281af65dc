//! The doors to the control plane, which no route may lead to: whoever got through one by a route
//! would come with the rights of the proxy itself.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::model::target::Address;

/// Where operators come in.
#[derive(Debug)]
pub(crate) struct Doors {
    /// The admin listener, if there is one.
    pub(crate) admin: Option<SocketAddr>,
    /// The control socket.
    pub(crate) control: PathBuf,
}

impl Doors {
    /// Which of them a target would be, by its key in the file. Names other than `localhost` are not
    /// resolved here, and links not followed: the control socket takes nothing that was forwarded.
    pub(crate) fn led_to(&self, target: &Address) -> Option<&'static str> {
        let at_admin = |reaches: &dyn Fn(IpAddr) -> bool, port: u16| {
            let admin = self.admin.filter(|admin| admin.port() == port)?;
            reaches(admin.ip().to_canonical()).then_some("admin.bind")
        };
        match target {
            Address::Unix(path) => {
                (plain(path) == plain(&self.control)).then_some("control.socket")
            }
            Address::Ip(address) => {
                let target = address.ip().to_canonical();
                at_admin(&|admin| reaches(target, admin), address.port())
            }
            Address::Name { host, port } => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                let is_here = host == "localhost" || host.ends_with(".localhost");
                at_admin(&|admin| is_here && (admin.is_loopback() || admin.is_unspecified()), *port)
            }
        }
    }
}

/// Whether connecting to `target` can end at somebody who listens on `bound`. What is bound to all
/// addresses is on this machine's own ones too, but which they are is not known here.
fn reaches(target: IpAddr, bound: IpAddr) -> bool {
    target == bound
        || (bound.is_unspecified() && target.is_loopback())
        || (target.is_unspecified() && (bound.is_loopback() || bound.is_unspecified()))
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}
