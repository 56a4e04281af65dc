//! How much memory and how many files the process under test holds.

use std::fs;

use super::proxy::Proxy;

impl Proxy {
    /// How many files the process has open.
    #[track_caller]
    pub fn open_files(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count() as u64
    }

    /// Resident memory in KiB (`VmRSS`).
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let value = value.unwrap().trim().trim_end_matches(" kB");
        value.parse().unwrap()
    }
}
