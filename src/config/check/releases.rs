//! What an upstream asks for in a release, beside its pools.

use std::time::Duration;

use crate::config::check::set;
use crate::config::check::word;
use crate::config::numbers::Whole;
use crate::config::read::Field;
use crate::config::read::List;
use crate::config::words::Parsed;
use crate::config::written;
use crate::model::choice::skew::SkewSettings;
use crate::model::pattern::Pattern;
use crate::model::warmup::WarmupSettings;

/// Which paths are asked of the other colour.
pub(crate) fn skew(field: &Field<written::Skew>) -> Option<SkewSettings> {
    Some(SkewSettings { paths: paths(&field.good()?.paths)? })
}

/// How a new colour is warmed up.
pub(crate) fn warmup(field: &Field<written::Warmup>) -> Option<WarmupSettings> {
    let written = field.good()?;
    let mut timeout = Duration::from_secs(60);
    set(&written.timeout, &mut timeout);
    Some(WarmupSettings {
        paths: paths(&written.paths)?,
        requests: whole(&written.requests, 200),
        rate: written.rate.good().map_or(50, |rate| rate.0),
        within: written.within.good().map_or(150, |within| within.0),
        timeout,
        connections: whole(&written.connections, 4),
    })
}

fn paths(field: &Field<List<Parsed<Pattern>, 1>>) -> Option<Vec<Pattern>> {
    let list = field.good()?;
    Some(list.0.iter().filter_map(word).cloned().collect())
}

fn whole<const MIN: u32, const MAX: u32>(field: &Field<Whole<MIN, MAX>>, default: usize) -> usize {
    let number = field.good().map(|whole| usize::try_from(whole.0));
    number.and_then(Result::ok).unwrap_or(default)
}
