//! What a certificate pair may look like, and what is said about one that cannot be used.

use super::*;
use crate::net::testing::Folder;
use crate::net::testing::params;
use crate::net::testing::text;
use std::os::unix::fs::PermissionsExt;

/// The one thing that is wrong with the pair.
fn refusal(paths: &CertificatePaths) -> CertificateError {
    let mut errors = load(0, paths).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

#[test]
fn rsa_ecdsa_and_ed25519_keys_are_taken() {
    let folder = Folder::new();
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519]
    {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let certificate = params(&["a.test"]).self_signed(&key).unwrap();
        let paths = CertificatePaths {
            cert: folder.write("a.pem", certificate.pem()),
            key: folder.write("a.key", key.serialize_pem()),
        };
        assert_eq!(load(0, &paths).unwrap().names, ["a.test"], "{algorithm:?}");
    }
}

#[test]
fn the_common_name_stands_in_for_missing_names_and_addresses_count() {
    let folder = Folder::new();
    let mut plain = params(&[]);
    plain
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Old.Test");
    assert_eq!(load(0, &folder.signed("old", &plain)).unwrap().names, ["old.test"]);
    let paths = folder.certificate("ip", &["b.test", "127.0.0.1", "::1"]);
    assert_eq!(load(0, &paths).unwrap().names, ["b.test", "127.0.0.1", "::1"]);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let folder = Folder::new();
    let CertificatePaths { cert, .. } = folder.certificate("a", &["a.test"]);
    let CertificatePaths { key, .. } = folder.certificate("b", &["b.test"]);
    let error = refusal(&CertificatePaths { cert, key });
    assert_eq!(error.part, Part::Key);
    assert!(error.what.contains("b.key: does not belong to"), "{error}");
}

#[test]
fn a_leaf_that_is_not_first_is_told_from_a_wrong_key() {
    let folder = Folder::new();
    let leaf = folder.certificate("leaf", &["leaf.test"]);
    let other = folder.certificate("other", &["other.test"]);
    let reversed = folder.write("chain.pem", text(&other.cert) + &text(&leaf.cert));
    let error = refusal(&CertificatePaths { cert: reversed, key: leaf.key.clone() });
    assert_eq!(error.part, Part::Cert);
    assert!(
        error
            .what
            .ends_with("the leaf is certificate 2 of the file and must come first")
    );
}

#[test]
fn a_chain_out_of_order_behind_its_leaf_is_taken_with_a_warning() {
    let folder = Folder::new();
    let leaf = folder.certificate("leaf", &["leaf.test"]);
    let mut stranger = params(&["other.test"]);
    stranger
        .distinguished_name
        .push(rcgen::DnType::CommonName, "stranger");
    let stranger = folder.signed("stranger", &stranger);
    let chain = folder.write("chain.pem", text(&leaf.cert) + &text(&stranger.cert));
    let loaded = load(0, &CertificatePaths { cert: chain, key: leaf.key }).unwrap();
    assert_eq!(loaded.key.cert.len(), 2);
    assert!(loaded.warnings[0].contains("certificate 2 of the file did not issue"));
}

#[test]
fn an_expired_certificate_is_taken_with_a_warning() {
    let folder = Folder::new();
    let mut expired = params(&["old.test"]);
    expired.not_before = rcgen::date_time_ymd(2019, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let loaded = load(0, &folder.signed("old", &expired)).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("expired at 2020-01-01T00:00:00Z"), "{loaded:?}");
    let mut early = params(&["new.test"]);
    early.not_before = rcgen::date_time_ymd(4000, 1, 1);
    early.not_after = rcgen::date_time_ymd(4001, 1, 1);
    let loaded = load(0, &folder.signed("new", &early)).unwrap();
    assert!(loaded.warnings[0].contains("not valid before 4000-01-01"), "{loaded:?}");
}

#[test]
fn files_without_what_they_should_hold_are_refused_with_a_hint() {
    let folder = Folder::new();
    let good = folder.certificate("good", &["good.test"]);
    let swapped = CertificatePaths { cert: good.key.clone(), key: good.cert.clone() };
    let errors = load(0, &swapped).unwrap_err();
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert!(error.hint.unwrap().contains("swapped"));
    }
    let with_key = |name: &str, text: &str| CertificatePaths {
        cert: good.cert.clone(),
        key: folder.write(name, text),
    };
    let empty = refusal(&with_key("empty", ""));
    assert!(empty.what.ends_with("empty: no private key inside"), "{empty}");
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let locked = refusal(&with_key("locked", locked));
    assert!(locked.what.ends_with("the private key is encrypted"), "{locked}");
    assert!(locked.hint.unwrap().contains("openssl pkey"));
    let torn = refusal(&with_key("torn", "-----BEGIN PRIVATE KEY-----\nMIIB\n"));
    assert!(torn.what.contains("torn: damaged PEM"), "{torn}");
    let folder_itself = CertificatePaths { cert: good.cert.clone(), key: folder.path("") };
    assert!(refusal(&folder_itself).what.ends_with("is a folder"));
}

#[test]
fn an_unreadable_key_names_the_file_its_owner_and_the_way_out() {
    let folder = Folder::new();
    let key = folder.certificate("a", &["a.test"]).key;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let error = denied(&key);
    assert!(
        error
            .what
            .contains("a.key: permission denied: mode 0600, owned by uid")
    );
    assert!(error.hint.unwrap().contains("setfacl -m u:"));
}
