//! What a roll would do: which targets, in which order, by which command. Pure.

use crate::cli::args::target::Roll as Args;
use crate::control::command::status::PoolStatus;
use crate::control::command::status::Status;
use crate::control::command::status::TargetStatus;
use crate::model::target::Address;
use crate::model::target::Admin;

/// A roll as it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The upstream.
    pub upstream: String,
    /// `blue`, `green` or `targets`: the pool's key in the status.
    pub pool: String,
    /// Each target and its command, in the order in which they are taken.
    pub jobs: Vec<Job>,
    /// How many at a time.
    pub parallel: usize,
    /// Never fewer ready and healthy targets than so many.
    pub least: usize,
    /// How many targets the pool has.
    pub all: usize,
}

/// One target of a roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its address.
    pub target: String,
    /// What `sh -c` is given.
    pub command: String,
}

/// What is wrong with what was asked, and the way out.
pub type Wrong = (String, String);

impl Plan {
    /// The plan for `args` as things stand.
    ///
    /// # Errors
    /// Unknown names, or a command that asks for what a target does not have.
    pub fn new(args: &Args, status: &Status) -> Result<Self, Wrong> {
        let upstream = args.upstream.clone();
        let Some(state) = status.upstreams.get(&upstream) else {
            let known: Vec<&str> = status.upstreams.keys().map(String::as_str).collect();
            let hint = format!("the file has {}", known.join(", "));
            return Err((format!("there is no upstream \"{upstream}\""), hint));
        };
        let pool = state
            .live
            .map_or("targets".to_owned(), |live| live.to_string());
        let targets = state
            .pools
            .get(&pool)
            .map(|pool| pool.targets.as_slice())
            .unwrap_or_default();
        let chosen = chosen(args, &pool, targets)?;
        let jobs = chosen.into_iter().map(|target| {
            let command = command(&args.exec, &upstream, &target)?;
            Ok(Job { target, command })
        });
        let (all, parallel) = (targets.len(), args.parallel);
        let least = args
            .min_healthy
            .map_or(all.saturating_sub(parallel), |least| least.of(all));
        let jobs = jobs.collect::<Result<_, Wrong>>()?;
        // Without a single one there is nobody to answer: that is no roll.
        Ok(Self { upstream, pool, jobs, parallel, least: least.max(1), all })
    }

    /// Why these jobs must not begin as things stand, if they must not.
    #[must_use]
    pub fn forbids(&self, batch: &[Job], status: &Status) -> Option<String> {
        let upstream = status.upstreams.get(&self.upstream);
        let live = upstream.and_then(|upstream| upstream.live);
        let key = live.map_or("targets".to_owned(), |live| live.to_string());
        let pool = upstream.and_then(|upstream| upstream.pools.get(&key));
        let Some(pool) = pool.filter(|_| key == self.pool) else {
            return Some(format!("{} is not what requests get any more", self.pool));
        };
        let left = serving_without(batch, pool);
        (left < self.least).then(|| {
            let (least, all) = (self.least, self.all);
            let names: Vec<&str> = batch.iter().map(|job| job.target.as_str()).collect();
            let names = names.join(" and ");
            format!(
                "without {names} only {left} of {all} would be ready and healthy, and {least} must"
            )
        })
    }
}

fn serving_without(batch: &[Job], pool: &PoolStatus) -> usize {
    let serves = |target: &&TargetStatus| {
        target.admin == Admin::Ready && target.healthy == Some(true) && !target.ejected
    };
    let stays = |target: &&TargetStatus| batch.iter().all(|job| job.target != target.address);
    pool.targets.iter().filter(serves).filter(stays).count()
}

/// Those that drain already come first: they serve nobody.
fn chosen(args: &Args, pool: &str, targets: &[TargetStatus]) -> Result<Vec<String>, Wrong> {
    let known: Vec<&str> = targets
        .iter()
        .map(|target| target.address.as_str())
        .collect();
    if args.targets.is_empty() {
        let mut all: Vec<&TargetStatus> = targets.iter().collect();
        all.sort_by_key(|target| target.admin == Admin::Ready);
        return Ok(all
            .into_iter()
            .map(|target| target.address.clone())
            .collect());
    }
    let mut chosen: Vec<String> = Vec::new();
    for target in &args.targets {
        if !known.contains(&target.as_str()) {
            let hint = format!("it has {}", known.join(", "));
            return Err((format!("{}: {pool} has no target \"{target}\"", args.upstream), hint));
        }
        if !chosen.contains(target) {
            chosen.push(target.clone());
        }
    }
    Ok(chosen)
}

/// The command with everything that stands for something replaced.
fn command(exec: &str, upstream: &str, target: &str) -> Result<String, Wrong> {
    let place = match target.parse::<Address>() {
        Ok(Address::Ip(address)) => Some((address.ip().to_string(), address.port())),
        Ok(Address::Name { host, port }) => Some((host, port)),
        Ok(Address::Unix(_)) | Err(_) => None,
    };
    let mut command = String::new();
    let mut rest = exec;
    while let Some(open) = rest.find('{') {
        let (before, from) = rest.split_at(open);
        command.push_str(before);
        let words = [
            ("{host}", "host"),
            ("{port}", "port"),
            ("{target}", "target"),
            ("{upstream}", "upstream"),
        ];
        let Some((word, name)) = words.iter().find(|(word, _)| from.starts_with(word)) else {
            // Braces are the shell's, too.
            command.push('{');
            rest = from.get(1..).unwrap_or_default();
            continue;
        };
        let value = match (*name, &place) {
            ("target", _) => target.to_owned(),
            ("upstream", _) => upstream.to_owned(),
            ("host", Some((host, _))) => host.clone(),
            (_, Some((_, port))) => port.to_string(),
            (_, None) => {
                let hint = "write {target} for targets that are sockets".to_owned();
                return Err((format!("--exec: {target} has no {name}"), hint));
            }
        };
        command.push_str(&quoted(&value));
        rest = from.get(word.len()..).unwrap_or_default();
    }
    command.push_str(rest);
    Ok(command)
}

/// A word that the shell takes as it is, in quotes if it must be.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-[]".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::target::Least;

    fn status(targets: &[(&str, &str, bool)]) -> Status {
        let target = |(address, admin, healthy): &(&str, &str, bool)| serde_json::json!({ "address": address, "admin": admin, "healthy": healthy, "in_flight": 0, "last_probe": null });
        let targets: Vec<_> = targets.iter().map(target).collect();
        let blue = serde_json::json!({ "in_flight": 0, "tunnels": 0, "targets": targets });
        let green = serde_json::json!({ "in_flight": 0, "tunnels": 0, "targets": [] });
        serde_json::from_value(serde_json::json!({
            "version": "0", "generation": 1, "listeners": [],
            "upstreams": { "app": { "live": "blue", "standby": "green", "promotion": null,
                "pools": { "blue": blue, "green": green } } },
            "config": { "path": "p", "pending_restart": [],
                "last_reload": { "at": "", "ok": true, "problems": [] } },
        }))
        .unwrap()
    }

    fn args(exec: &str) -> Args {
        Args { upstream: "app".to_owned(), exec: exec.to_owned(), parallel: 1, ..Args::default() }
    }

    #[test]
    fn words_in_braces_are_replaced_and_what_is_the_shells_is_left_to_it() {
        let of = |exec, target| command(exec, "my app", target).unwrap();
        assert_eq!(of("ssh {host} ./r {port}", "10.0.0.1:80"), "ssh 10.0.0.1 ./r 80");
        assert_eq!(of("{host} {target}", "[::1]:80"), "::1 [::1]:80");
        assert_eq!(of("a {x} {1,2} ${HOME} {", "h:1"), "a {x} {1,2} ${HOME} {");
        assert_eq!(of("echo {upstream}", "h:1"), "echo 'my app'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        let (what, _) = command("x {port}", "app", "unix:/run/a.sock").unwrap_err();
        assert_eq!(what, "--exec: unix:/run/a.sock has no port");
    }

    #[test]
    fn those_that_drain_come_first_and_only_those_that_are_named_otherwise() {
        let state =
            status(&[("a:1", "ready", true), ("b:1", "draining", false), ("c:1", "ready", true)]);
        let targets = |args: &Args| -> Vec<String> {
            let plan = Plan::new(args, &state).unwrap();
            plan.jobs.into_iter().map(|job| job.target).collect()
        };
        assert_eq!(targets(&args("x")), ["b:1", "a:1", "c:1"]);
        let named = Args { targets: vec!["c:1".into(), "a:1".into(), "c:1".into()], ..args("x") };
        assert_eq!(targets(&named), ["c:1", "a:1"]);
        let unknown = Args { targets: vec!["d:1".into()], ..args("x") };
        let (what, hint) = Plan::new(&unknown, &state).unwrap_err();
        assert_eq!((&*what, &*hint), ("app: blue has no target \"d:1\"", "it has a:1, b:1, c:1"));
    }

    #[test]
    fn never_fewer_serve_than_must() {
        let all = [("a:1", "ready", true), ("b:1", "ready", true), ("c:1", "ready", true)];
        let sick = [("a:1", "ready", true), ("b:1", "ready", true), ("c:1", "ready", false)];
        let forbids = |args: &Args, now: &[(&str, &str, bool)], take: usize| {
            let plan = Plan::new(args, &status(&all)).unwrap();
            plan.forbids(plan.jobs.get(..take).unwrap(), &status(now))
        };
        let with = |parallel, least| Args { parallel, min_healthy: least, ..args("x") };
        assert_eq!(forbids(&with(1, None), &all, 1), None);
        assert!(
            forbids(&with(1, None), &sick, 1)
                .unwrap()
                .contains("only 1 of 3")
        );
        assert_eq!(forbids(&with(1, Some(Least::Count(1))), &sick, 1), None);
        assert_eq!(forbids(&with(2, Some(Least::Percent(30))), &all, 2), None);
        assert!(forbids(&with(3, Some(Least::Count(0))), &all, 3).is_some(), "one must stay");
        // The sick one itself may be taken.
        let plan = Plan::new(&args("x"), &status(&sick)).unwrap();
        assert_eq!(plan.forbids(plan.jobs.get(2..).unwrap(), &status(&sick)), None);
    }
}
