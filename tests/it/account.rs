//! `user:`: started as root, the daemon works as the account it drops to. Where the tests do not run
//! as root, only the refusal can be seen.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::Origin;
use crate::harness::Proxy;
use crate::harness::ctl::proxyd;
use crate::harness::eventually;

/// A proxy that is to work as nobody, in folders that are not there yet.
fn as_nobody(blue: &Origin, green: &Origin) -> Proxy {
    let setup = Proxy::setup().blue(&[blue]).green(&[green]);
    fs::set_permissions(setup.folder(), Permissions::from_mode(0o755)).unwrap();
    let logs = setup.folder().join("logs");
    fs::create_dir(&logs).unwrap();
    fs::set_permissions(&logs, Permissions::from_mode(0o777)).unwrap();
    let change = json!({
        "user": "nobody",
        "control": { "socket": setup.folder().join("run/deep/control.sock") },
        "state_dir": setup.folder().join("lib/state"),
        "access_log": logs.join("access.log"),
    });
    setup.with(&change).prepare()
}

#[test]
fn an_account_that_root_drops_to_owns_what_was_made_for_it_and_can_promote() {
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let mut proxy = as_nobody(&blue, &green);
    if !rustix::process::geteuid().is_root() {
        let path = proxy.config_path();
        let output = proxyd(&["run", "--config", path.to_str().unwrap()]).expect(1);
        assert!(output.stderr.contains("only root can become"), "{}", output.stderr);
        return;
    }
    proxy.start_again();
    let owner = |name: &str| fs::metadata(proxy.file(name)).unwrap().uid();
    let nobody = owner("run");
    assert_ne!(nobody, 0);
    for made in ["run/deep", "run/deep/control.sock", "lib", "lib/state", "logs/access.log"] {
        assert_eq!(owner(made), nobody, "{made}");
    }
    proxy.promote("green");
    proxy.ctl(["reload"]).expect(0);
    fs::rename(proxy.file("logs/access.log"), proxy.file("logs/old.log")).unwrap();
    proxy.signal(Signal::USR1);
    eventually("the log is opened anew", || proxy.file("logs/access.log").exists());
    assert_eq!(proxy.colour(), "green");
    proxy.restart();
    assert_eq!(proxy.colour(), "green");
    proxy.stop();
    assert!(!proxy.socket().exists(), "its own folder lets it remove the socket");
    assert!(!proxy.stderr().contains("cannot"), "{}", proxy.stderr());
}

#[test]
fn a_state_dir_that_the_account_cannot_write_is_said_at_the_start() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (blue, green) = (Origin::start("blue-1"), Origin::start("green-1"));
    let mut proxy = as_nobody(&blue, &green);
    fs::create_dir_all(proxy.file("lib/state")).unwrap();
    proxy.start_again();
    assert!(proxy.stderr().contains("chown nobody"), "{}", proxy.stderr());
    proxy.ctl(["promote", "green"]).expect(8);
    assert_eq!(proxy.colour(), "blue");
}
