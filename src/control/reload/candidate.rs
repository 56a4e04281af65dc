//! A configuration file that was read and checked, with a print of everything it leads to.

use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;

use crate::config;
use crate::config::place::Places;
use crate::model::problem::Problem;
use crate::model::settings::CertificateFiles;
use crate::model::settings::ListenerSettings;
use crate::model::settings::Settings;
use crate::net::certs::CertificatePaths;
use crate::net::listen::ListenError;
use crate::net::listen::ListenerSpec;

/// More than this of a watched file cannot be a certificate; the rest does not count for the print.
const WATCHED_FILE_MAX: u64 = 4 * 1024 * 1024;

/// A valid file, not yet applied.
#[derive(Debug)]
pub struct Candidate {
    /// What it means.
    pub settings: Arc<Settings>,
    /// Where its keys stand.
    pub places: Places,
    /// The files whose change should bring the next reload.
    pub watched: Vec<PathBuf>,
    /// Differs when the file, or a certificate or key it names, differs.
    pub print: [u8; 32],
}

impl Candidate {
    /// Reads and checks the file. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Every problem of the file at once.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        Ok(Self::of(config::load(path)?))
    }

    /// The candidate that a loaded file is. Reads the certificates' bytes for the print.
    #[must_use]
    pub fn of(loaded: config::Loaded) -> Self {
        let watched = loaded.watched();
        let mut print = Sha256::new();
        print.update(loaded.digest);
        for path in watched.iter().filter(|path| **path != loaded.path) {
            print.update(path.as_os_str().as_encoded_bytes());
            match contents(path) {
                Ok(bytes) => print.update(Sha256::digest(bytes)),
                // What cannot be read is reported by whoever needs it.
                Err(error) => print.update(error.kind().to_string()),
            }
        }
        Self {
            settings: Arc::new(loaded.settings),
            places: loaded.places,
            watched,
            print: print.finalize().into(),
        }
    }

    /// What `net` should open for it.
    #[must_use]
    pub fn listeners(&self) -> Vec<ListenerSpec> {
        self.settings.listeners.iter().map(spec).collect()
    }

    /// What `net` found wrong, at the place in the file where it is said.
    #[must_use]
    pub fn problems(&self, errors: Vec<ListenError>) -> Vec<Problem> {
        errors
            .into_iter()
            .map(|error| {
                let path = error.path();
                self.places.problem(&path, error.what, error.hint)
            })
            .collect()
    }
}

impl Candidate {
    /// What does not go together with what was ordered: key, problem and way out of each.
    #[must_use]
    pub fn clashes(&self, clashes: Vec<(String, String, String)>) -> Vec<Problem> {
        let problem = |(at, what, hint): (String, _, _)| self.places.problem(&at, what, Some(hint));
        clashes.into_iter().map(problem).collect()
    }
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(WATCHED_FILE_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn spec(listener: &ListenerSettings) -> ListenerSpec {
    let pair = |files: &CertificateFiles| CertificatePaths {
        cert: files.cert.clone(),
        key: files.key.clone(),
    };
    ListenerSpec {
        bind: listener.bind,
        certificates: listener
            .tls
            .as_ref()
            .map(|files| files.iter().map(pair).collect()),
        redirect_to_https: listener.redirect_to_https,
    }
}
