//! A list of targets that is given at run time, read and checked by the very rules of the file.

use std::path::Path;

use serde_json::json;

use crate::config::file;
use crate::model::colour::Colour;
use crate::model::problem::Problem;
use crate::model::settings::PoolSettings;
use crate::model::settings::Settings;
use crate::model::settings::TargetSettings;

/// What `colour` of `upstream` would be with this list, beside `others`, the targets of its other
/// colour. `path` is the file's: relative paths are below its folder.
///
/// # Errors
///
/// Everything that the file would be refused for: no port, an address twice, a door of the proxy's own.
pub fn targets(
    upstream: &str,
    colour: Colour,
    list: &[String],
    others: &[TargetSettings],
    settings: &Settings,
    path: &Path,
) -> Result<Vec<TargetSettings>, Vec<Problem>> {
    let others: Vec<String> = others
        .iter()
        .map(|target| target.address.to_string())
        .collect();
    // The other colour is read first, so that an address of both is blamed on the list.
    let mut written = json!({
        "listeners": [{ "bind": "127.0.0.1:0" }],
        "routes": [{ "upstream": upstream }],
        "upstreams": { upstream: { colour.as_str(): list, colour.other().as_str(): others } },
        "control": { "socket": settings.control.socket },
    });
    if let (Some(admin), Some(file)) = (settings.admin, written.as_object_mut()) {
        file.insert("admin".to_owned(), json!({ "bind": admin.to_string() }));
    }
    let loaded = file::parse(&written.to_string(), path)?;
    let found = loaded.settings.upstreams.into_iter().next();
    Ok(match (found.map(|(_, upstream)| upstream.pools), colour) {
        (Some(PoolSettings::Coloured { blue, .. }), Colour::Blue) => blue,
        (Some(PoolSettings::Coloured { green, .. }), Colour::Green) => green,
        (Some(PoolSettings::Single(_)) | None, _) => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn settings() -> Settings {
        let text = json!({
            "listeners": [{ "bind": "127.0.0.1:0" }],
            "routes": [{ "upstream": "app" }],
            "upstreams": { "app": { "blue": ["10.0.0.1:80"], "green": ["10.0.0.1:81"] } },
            "control": { "socket": "/run/proxyd/control.sock" },
            "admin": { "bind": "127.0.0.1:9090" },
        });
        file::parse(&text.to_string(), Path::new("/etc/proxyd/proxy.yaml"))
            .unwrap()
            .settings
    }

    fn of(list: &[&str]) -> Result<Vec<String>, String> {
        let settings = settings();
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        let blue =
            [TargetSettings { address: "10.0.0.1:80".parse().unwrap(), weight: 2, backup: false }];
        let path = PathBuf::from("/etc/proxyd/proxy.yaml");
        targets("app", Colour::Green, &list, &blue, &settings, &path)
            .map(|targets| targets.iter().map(|it| it.address.to_string()).collect())
            .map_err(|problems| problems.iter().map(|it| it.what.clone()).collect())
    }

    #[test]
    fn a_list_is_read_as_the_file_reads_it() {
        let read = of(&["10.0.0.2:80", "App.Internal:80", "unix:run/app.sock"]).unwrap();
        assert_eq!(read, ["10.0.0.2:80", "app.internal:80", "unix:/etc/proxyd/run/app.sock"]);
    }

    #[test]
    fn what_the_file_would_be_refused_for_is_refused_in_the_same_words() {
        for (list, what) in [
            (&["10.0.0.2"] as &[&str], "upstreams.app.green[0]: \"10.0.0.2\" has no port"),
            (&["a:1", "a:1"], "upstreams.app.green[1]: a:1 is already upstreams.app.green[0]"),
            (
                &["10.0.0.1:80"],
                "upstreams.app.green[0]: 10.0.0.1:80 is already upstreams.app.blue[0]",
            ),
            (&[], "upstreams.app.green"),
            (&["127.0.0.1:9090"], "upstreams.app.green[0]: 127.0.0.1:9090 is admin.bind"),
            (&["unix:/run/proxyd/control.sock"], "is control.socket"),
        ] {
            let said = of(list).unwrap_err();
            assert!(said.contains(what), "{what}: {said}");
        }
    }
}
