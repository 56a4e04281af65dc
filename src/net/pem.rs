//! Two PEM files in, one checked certificate out, or a plain word about what is wrong with them.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::net::certs::Certificate;
use crate::net::certs::CertificateError;
use crate::net::certs::CertificatePaths;
use crate::net::certs::Part;

/// What is wrong, and the way out where one is known.
struct Complaint {
    what: String,
    hint: Option<String>,
}

impl Complaint {
    fn new(path: &Path, why: impl AsRef<str>, hint: Option<&str>) -> Self {
        Self {
            what: format!("{}: {}", path.display(), why.as_ref()),
            hint: hint.map(str::to_owned),
        }
    }

    fn at(self, index: usize, part: Part) -> CertificateError {
        CertificateError { index, part, what: self.what, hint: self.hint }
    }
}

/// Reads the pair that stands at `index` of its list.
pub(super) fn load(
    index: usize,
    paths: &CertificatePaths,
) -> Result<Certificate, Vec<CertificateError>> {
    match (read_chain(&paths.cert), read_key(&paths.key)) {
        (Ok(chain), Ok(key)) => {
            check(paths, chain, &key).map_err(|(part, wrong)| vec![wrong.at(index, part)])
        }
        (chain, key) => {
            let cert = chain.err().map(|wrong| wrong.at(index, Part::Cert));
            let key = key.err().map(|wrong| wrong.at(index, Part::Key));
            Err(cert.into_iter().chain(key).collect())
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Complaint> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| Complaint::new(path, damaged(&error), None))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    let hint = if contains(&text, b"PRIVATE KEY-----") {
        "it holds a private key: are `cert` and `key` swapped?"
    } else {
        "it must hold a block that begins with -----BEGIN CERTIFICATE-----"
    };
    Err(Complaint::new(path, "no certificate inside", Some(hint)))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Complaint> {
    let text = read(path)?;
    if contains(&text, b"ENCRYPTED") {
        let hint = format!(
            "write it without its passphrase: `openssl pkey -in {0} -out {0}.plain`, and guard that file by its mode",
            path.display()
        );
        return Err(Complaint::new(path, "the private key is encrypted", Some(&hint)));
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let hint = if contains(&text, b"BEGIN CERTIFICATE-----") {
                "it holds a certificate: are `cert` and `key` swapped?"
            } else {
                "it must hold a block that begins with -----BEGIN PRIVATE KEY-----"
            };
            Err(Complaint::new(path, "no private key inside", Some(hint)))
        }
        Err(error) => Err(Complaint::new(path, damaged(&error), None)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Complaint> {
    let error = match fs::read(path) {
        Ok(text) => return Ok(text),
        Err(error) => error,
    };
    match error.kind() == io::ErrorKind::PermissionDenied {
        true => Err(denied(path)),
        false if path.is_dir() => Err(Complaint::new(path, "is a folder", Some("name the file"))),
        false if error.kind() == io::ErrorKind::NotFound => {
            Err(Complaint::new(path, "no such file", None))
        }
        false => Err(Complaint::new(path, error.to_string(), None)),
    }
}

/// Names whose file it is and who asked: that is the whole riddle of a `privkey.pem` of root's.
fn denied(path: &Path) -> Complaint {
    let me = rustix::process::geteuid().as_raw();
    let why = match fs::metadata(path) {
        Ok(file) => format!(
            "permission denied: mode {:04o}, owned by uid {}, read as uid {me}",
            file.mode() & 0o7777,
            file.uid()
        ),
        Err(_) => format!("permission denied: a folder above it is closed to uid {me}"),
    };
    let hint = format!(
        "let uid {me} read it: `setfacl -m u:{me}:r {}`, and `u:{me}:x` on the folders above it (certbot's live and archive)",
        path.display()
    );
    Complaint::new(path, why, Some(&hint))
}

fn damaged(error: &pem::Error) -> String {
    format!("damaged PEM: {error}")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Checks that the key is the leaf's, and gathers what the rest of the room wants to know.
fn check(
    paths: &CertificatePaths,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<Certificate, (Part, Complaint)> {
    let path = paths.cert.as_path();
    let signer = any_supported_type(key).map_err(|error| {
        let hint = "RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, and Ed25519 can be used";
        let why = format!("the private key cannot be used: {error}");
        (Part::Key, Complaint::new(&paths.key, why, Some(hint)))
    })?;
    let der = chain.clone();
    let mut parsed = Vec::with_capacity(der.len());
    for (number, der) in der.iter().enumerate() {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| {
            let why = format!("certificate {} of the file is damaged: {error}", number + 1);
            (Part::Cert, Complaint::new(path, why, None))
        })?;
        parsed.push(certificate);
    }
    let certified = CertifiedKey::new(chain, signer);
    if let Err(error) = certified.keys_match() {
        return Err(mismatch(paths, &certified, &parsed, &error));
    }
    let Some(leaf) = parsed.first() else {
        return Err((Part::Cert, Complaint::new(path, "no certificate inside", None)));
    };
    let mut names = names(leaf);
    if names.is_empty() {
        names.push(path.display().to_string()); // reachable as the default only
    }
    Ok(Certificate {
        names,
        not_after: instant(leaf.validity().not_after.timestamp()),
        warnings: warnings(path, leaf, &parsed),
        key: Arc::new(certified),
    })
}

/// The key is not the leaf's: told apart from "the leaf does not come first".
fn mismatch(
    paths: &CertificatePaths,
    certified: &CertifiedKey,
    parsed: &[X509Certificate<'_>],
    error: &rustls::Error,
) -> (Part, Complaint) {
    if !matches!(error, rustls::Error::InconsistentKeys(_)) {
        let why = format!("the certificate cannot be used: {error}");
        return (Part::Cert, Complaint::new(&paths.cert, why, None));
    }
    let key = certified.key.public_key();
    let belongs = |certificate: &X509Certificate<'_>| {
        key.as_ref()
            .is_some_and(|key| key.as_ref() == certificate.public_key().raw)
    };
    match parsed.iter().position(belongs) {
        Some(at) => {
            let why = format!("the leaf is certificate {} of the file and must come first", at + 1);
            let hint = "order: the leaf, then the one that issued it, and so on: `cat leaf.pem intermediate.pem`";
            (Part::Cert, Complaint::new(&paths.cert, why, Some(hint)))
        }
        None => {
            let why = format!("does not belong to the certificate in {}", paths.cert.display());
            let hint = format!(
                "the two must come from the same renewal; `openssl pkey -pubout -in {}` and `openssl x509 -pubkey -noout -in {}` must print the same",
                paths.key.display(),
                paths.cert.display()
            );
            (Part::Key, Complaint::new(&paths.key, why, Some(&hint)))
        }
    }
}

fn warnings(path: &Path, leaf: &X509Certificate<'_>, chain: &[X509Certificate<'_>]) -> Vec<String> {
    let file = path.display();
    let mut warnings = Vec::new();
    let now = SystemTime::now();
    let from = instant(leaf.validity().not_before.timestamp());
    let until = instant(leaf.validity().not_after.timestamp());
    if until < now {
        let until = humantime::format_rfc3339_seconds(until);
        warnings.push(format!("{file}: expired at {until}: clients will refuse it; renew it"));
    } else if from > now {
        let from = humantime::format_rfc3339_seconds(from);
        warnings.push(format!("{file}: not valid before {from}; is this machine's clock right?"));
    }
    for (number, pair) in chain.windows(2).enumerate() {
        if let [lower, upper] = pair
            && lower.issuer().as_raw() != upper.subject().as_raw()
        {
            warnings.push(format!(
                "{file}: certificate {} of the file did not issue certificate {}: some clients need the chain in order",
                number + 2,
                number + 1
            ));
        }
    }
    warnings
}

/// DNS and IP names of the certificate; its common name where it has none (RFC 9525 §2 retired that,
/// but we only choose among our own certificates here).
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = leaf.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.trim_end_matches('.').to_ascii_lowercase());
            } else if let GeneralName::IPAddress(bytes) = name {
                names.extend(address(bytes).map(|address| address.to_string()));
            }
        }
    }
    if names.is_empty() {
        let common = leaf
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn instant(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
