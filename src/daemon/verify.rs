//! `proxyd check`: the file, and the certificates that it names, as a start would read them.

use crate::config::Loaded;
use crate::model::problem::Problem;
use crate::model::settings::CertificateFiles;
use crate::net::certs::CertificateError;
use crate::net::certs::CertificatePaths;
use crate::net::certs::CertificateSet;
use crate::net::certs::Part;

/// What checking a valid file has found beyond it.
#[derive(Debug, Default)]
pub struct Verified {
    /// What would refuse a start: a key that does not match its certificate, say.
    pub problems: Vec<Problem>,
    /// Certificate files that are not here. The file may be meant for another machine, so they are
    /// said and do not count.
    pub missing: Vec<Problem>,
}

/// Reads every certificate that the file names.
#[must_use]
pub fn certificates(loaded: &Loaded) -> Verified {
    let mut verified = Verified::default();
    let named = loaded
        .settings
        .listeners
        .iter()
        .filter_map(|listener| listener.tls.as_ref());
    for files in named.flatten() {
        let absent = [(&files.cert, "cert"), (&files.key, "key")]
            .into_iter()
            .find(|(path, _)| {
                path.symlink_metadata()
                    .is_err_and(|error| is_absence(&error))
            });
        if let Some((path, part)) = absent {
            let what = format!("{} is not on this machine", path.display());
            let place = format!("{}.{part}", files.place);
            verified
                .missing
                .push(loaded.places.problem(&place, what, None));
            continue;
        }
        let pair = CertificatePaths { cert: files.cert.clone(), key: files.key.clone() };
        if let Err(errors) = CertificateSet::load(&[pair]) {
            let at_its_place = |error| problem(loaded, files, error);
            verified
                .problems
                .extend(errors.into_iter().map(at_its_place));
        }
    }
    verified
}

fn is_absence(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn problem(loaded: &Loaded, files: &CertificateFiles, error: CertificateError) -> Problem {
    let part = match error.part {
        Part::Cert => "cert",
        Part::Key => "key",
    };
    loaded
        .places
        .problem(&format!("{}.{part}", files.place), error.what, error.hint)
}
