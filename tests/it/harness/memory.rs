//! How much memory the process under test holds.

use std::fs;

use super::proxy::Proxy;

impl Proxy {
    /// Resident memory in KiB (`VmRSS`).
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = value.unwrap().trim().trim_end_matches(" kB");
        value.parse().unwrap()
    }
}
