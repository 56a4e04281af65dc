//! Which control socket is meant: the flag, the environment, `./proxy.yaml`, or the usual place.

use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use crate::config;
use crate::model::settings::ControlSettings;

/// A control socket, and why it may be the wrong one.
#[derive(Debug, PartialEq, Eq)]
pub struct Located {
    /// Its path.
    pub socket: PathBuf,
    /// Said only if nobody answers there.
    pub doubt: Option<String>,
}

/// The socket of `--socket`, else of the environment variable (an empty one counts as absent), else
/// of the configuration `file` if it exists, else the default.
#[must_use]
pub fn locate(flag: Option<PathBuf>, variable: Option<OsString>, file: &Path) -> Located {
    let named = flag.or_else(|| variable.filter(|path| !path.is_empty()).map(PathBuf::from));
    if let Some(socket) = named {
        return Located { socket, doubt: None };
    }
    let usual = ControlSettings::default().socket;
    if !file.exists() {
        return Located { socket: usual, doubt: None };
    }
    match config::load(file) {
        Ok(loaded) => Located { socket: loaded.settings.control.socket, doubt: None },
        Err(problems) => Located { socket: usual, doubt: Some(doubt(file, problems.len())) },
    }
}

fn doubt(file: &Path, problems: usize) -> String {
    let file = file.display();
    let count = if problems == 1 { "a problem".to_owned() } else { format!("{problems} problems") };
    format!("{file} has {count} and was not asked for the socket: proxyd check --config {file}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_both_over_the_usual_place() {
        let nowhere = Path::new("/nonexistent/proxy.yaml");
        let found = |flag: Option<&str>, variable: Option<&str>| {
            locate(flag.map(PathBuf::from), variable.map(OsString::from), nowhere).socket
        };
        assert_eq!(found(Some("/flag"), Some("/env")), Path::new("/flag"));
        assert_eq!(found(None, Some("/env")), Path::new("/env"));
        assert_eq!(found(None, Some("")), Path::new("/run/proxyd/control.sock"));
        assert_eq!(found(None, None), Path::new("/run/proxyd/control.sock"));
    }

    #[test]
    fn a_file_that_could_not_be_used_is_named() {
        assert_eq!(
            doubt(Path::new("proxy.yaml"), 2),
            "proxy.yaml has 2 problems and was not asked for the socket: proxyd check --config proxy.yaml"
        );
    }
}
