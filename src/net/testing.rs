//! Certificates for tests: a folder that a test fills and that is gone with it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rcgen::CertificateParams;
use rcgen::KeyPair;
use tempfile::TempDir;

use crate::net::certs::CertificatePaths;

/// A temporary folder of certificate files.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A self-signed certificate for `names`, in `<stem>.pem` and `<stem>.key`. Written again, it is
    /// another certificate in the same files.
    pub(crate) fn certificate(&self, stem: &str, names: &[&str]) -> CertificatePaths {
        self.signed(stem, &params(names))
    }

    pub(crate) fn signed(&self, stem: &str, params: &CertificateParams) -> CertificatePaths {
        self.certified(stem, params, &KeyPair::generate().unwrap())
    }

    pub(crate) fn certified(
        &self,
        stem: &str,
        params: &CertificateParams,
        key: &KeyPair,
    ) -> CertificatePaths {
        let certificate = params.self_signed(key).unwrap();
        CertificatePaths {
            cert: self.write(&format!("{stem}.pem"), certificate.pem()),
            key: self.write(&format!("{stem}.key"), key.serialize_pem()),
        }
    }
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap()
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
