//! `proxyctl` against a daemon that plays a part: what is asked, what is printed, the exit code.

mod canary;
mod guard;
mod look;
mod manuals;
mod promote;
mod target;
