//! The certificates of one listener: which one a client's name gets, and when each expires.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;

use crate::net::pem;

/// Where one certificate lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificatePaths {
    /// PEM: the certificate, then its chain.
    pub cert: PathBuf,
    /// PEM: its private key, not encrypted.
    pub key: PathBuf,
}

/// Which of a certificate's two files is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The chain.
    Cert,
    /// The private key.
    Key,
}

/// Why one certificate of a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateError {
    /// Its place in the list, from 0.
    pub index: usize,
    /// The file at fault.
    pub part: Part,
    /// What and why, beginning with the file.
    pub what: String,
    /// The way out, where one is known.
    pub hint: Option<String>,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Cert => "cert",
            Part::Key => "key",
        };
        write!(f, "certificates[{}].{part}: {}", self.index, self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CertificateError {}

/// A certificate that was read and checked: its key fits and the library can sign with it.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// Lower case, without a trailing dot; never empty.
    pub(super) names: Vec<String>,
    pub(super) not_after: SystemTime,
    /// What an operator should know although it works.
    pub(super) warnings: Vec<String>,
}

/// All certificates of one listener, in the order of the configuration. Never empty.
#[derive(Debug)]
pub struct CertificateSet {
    certificates: Vec<Certificate>,
    exact: HashMap<String, usize>,
    /// `example.com` for `*.example.com`.
    wildcard: HashMap<String, usize>,
}

impl CertificateSet {
    /// Reads and checks every pair.
    ///
    /// # Errors
    /// Everything that is wrong, not only the first.
    pub fn load(paths: &[CertificatePaths]) -> Result<Self, Vec<CertificateError>> {
        if paths.is_empty() {
            return Err(vec![CertificateError {
                index: 0,
                part: Part::Cert,
                what: "no certificate is named".to_owned(),
                hint: Some("name a cert and a key, or leave `tls` away".to_owned()),
            }]);
        }
        let mut certificates = Vec::with_capacity(paths.len());
        let mut errors = Vec::new();
        for (index, pair) in paths.iter().enumerate() {
            match pem::load(index, pair) {
                Ok(certificate) => certificates.push(certificate),
                Err(mut wrong) => errors.append(&mut wrong),
            }
        }
        if errors.is_empty() { Ok(Self::of(certificates)) } else { Err(errors) }
    }

    fn of(certificates: Vec<Certificate>) -> Self {
        let mut exact = HashMap::new();
        let mut wildcard = HashMap::new();
        for (index, certificate) in certificates.iter().enumerate() {
            for name in &certificate.names {
                // Where two certificates carry a name, the one listed first has it.
                match name.strip_prefix("*.") {
                    Some(suffix) => wildcard.entry(suffix.to_owned()).or_insert(index),
                    None => exact.entry(name.clone()).or_insert(index),
                };
            }
        }
        Self { certificates, exact, wildcard }
    }

    /// The certificate that carries `host` (no port): its exact name before a wildcard, and a
    /// wildcard stands for one whole label (RFC 9525 §6.3). Allocates nothing for lower case.
    #[must_use]
    pub fn matching(&self, host: &str) -> Option<usize> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        let by_wildcard = || {
            let (label, suffix) = host.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(suffix) }
        };
        self.exact.get(host.as_ref()).or_else(by_wildcard).copied()
    }

    /// What a handshake gets: the certificate that carries the name the client sent (SNI), else the
    /// first of the list.
    #[must_use]
    pub fn resolve(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let index = sni.and_then(|name| self.matching(name)).unwrap_or(0);
        self.certificates
            .get(index)
            .map(|certificate| Arc::clone(&certificate.key))
    }

    /// Each certificate's first name and the instant after which clients refuse it.
    pub fn expiries(&self) -> impl Iterator<Item = (String, SystemTime)> + '_ {
        self.certificates.iter().map(|certificate| {
            (certificate.names.first().cloned().unwrap_or_default(), certificate.not_after)
        })
    }

    /// The names of certificate `index`: lower case, wildcards as `*.example.com`.
    #[must_use]
    pub fn names(&self, index: usize) -> &[String] {
        self.certificates
            .get(index)
            .map_or(&[], |certificate| certificate.names.as_slice())
    }

    /// What works but deserves a word (expired, chain out of order): the certificate's index and the
    /// text, beginning with the file.
    pub fn warnings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.certificates
            .iter()
            .enumerate()
            .flat_map(|(index, certificate)| {
                certificate
                    .warnings
                    .iter()
                    .map(move |warning| (index, warning.as_str()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::Folder;

    #[test]
    fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_is_one_label() {
        let folder = Folder::new();
        let set = CertificateSet::load(&[
            folder.certificate("one", &["first.test"]),
            folder.certificate("two", &["*.example.test", "Example.TEST"]),
            folder.certificate("three", &["app.example.test", "first.test"]),
        ])
        .unwrap();
        assert_eq!(set.matching("example.test"), Some(1));
        assert_eq!(set.matching("api.example.test"), Some(1));
        assert_eq!(set.matching("API.Example.Test."), Some(1));
        assert_eq!(set.matching("app.example.test"), Some(2));
        assert_eq!(set.matching("first.test"), Some(0), "the one listed first has the name");
        assert_eq!(set.matching("a.b.example.test"), None);
        assert_eq!(set.matching(".example.test"), None);
        assert_eq!(set.matching("*.other.test"), None);
        assert_eq!(set.names(1), ["*.example.test", "example.test"]);
        assert!(set.names(9).is_empty());
    }

    #[test]
    fn an_unknown_name_and_no_name_get_the_first_certificate() {
        let folder = Folder::new();
        let set = CertificateSet::load(&[
            folder.certificate("one", &["one.test"]),
            folder.certificate("two", &["two.test"]),
        ])
        .unwrap();
        let [first, second] = [0, 1].map(|index| Arc::clone(&set.certificates[index].key));
        assert!(Arc::ptr_eq(&set.resolve(None).unwrap(), &first));
        assert!(Arc::ptr_eq(&set.resolve(Some("unknown.test")).unwrap(), &first));
        assert!(Arc::ptr_eq(&set.resolve(Some("two.test")).unwrap(), &second));
        let names: Vec<String> = set.expiries().map(|(name, _)| name).collect();
        assert_eq!(names, ["one.test", "two.test"]);
        assert!(set.expiries().all(|(_, until)| until > SystemTime::now()));
        assert_eq!(set.warnings().count(), 0);
    }

    #[test]
    fn everything_wrong_is_told_at_once_and_by_place() {
        let folder = Folder::new();
        let good = folder.certificate("good", &["good.test"]);
        let missing = CertificatePaths { cert: folder.path("no.pem"), key: folder.path("no.key") };
        let errors = CertificateSet::load(&[good, missing]).unwrap_err();
        let places: Vec<_> = errors
            .iter()
            .map(|error| (error.index, error.part))
            .collect();
        assert_eq!(places, [(1, Part::Cert), (1, Part::Key)]);
        assert!(errors[1].to_string().starts_with("certificates[1].key: "), "{}", errors[1]);
        assert_eq!(CertificateSet::load(&[]).unwrap_err().len(), 1);
    }
}
