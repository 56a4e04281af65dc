//! The metrics page, parsed: series by name and labels, types by name.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub types: BTreeMap<String, String>,
    pub helps: BTreeMap<String, String>,
    pub series: Vec<Series>,
}

#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                metrics.types.insert(name.to_owned(), kind.to_owned());
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                metrics.helps.insert(name.to_owned(), help.to_owned());
            } else if !line.trim().is_empty() {
                metrics.series.push(parse_series(line));
            }
        }
        metrics
    }

    /// The sum of every series of `name` whose labels include `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels)
            .iter()
            .map(|series| series.value)
            .sum()
    }

    /// The only series of `name` with `labels`; panics if it does not exist.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.matching(name, labels);
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }

    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Series> {
        let has = |series: &Series| {
            labels
                .iter()
                .all(|(key, value)| series.labels.get(*key).is_some_and(|v| v == value))
        };
        self.series
            .iter()
            .filter(|series| series.name == name && has(series))
            .collect()
    }
}

fn parse_series(line: &str) -> Series {
    let (key, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("series {line:?}"));
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("value in {line:?}"));
    let Some((name, labels)) = key.split_once('{') else {
        return Series { name: key.to_owned(), labels: BTreeMap::new(), value };
    };
    let mut pairs = BTreeMap::new();
    let mut rest = labels
        .strip_suffix('}')
        .unwrap_or_else(|| panic!("labels in {line:?}"));
    while let Some((label, after)) = rest.split_once("=\"") {
        let (text, after) = after
            .split_once('"')
            .unwrap_or_else(|| panic!("labels in {line:?}"));
        pairs.insert(label.to_owned(), text.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Series { name: name.to_owned(), labels: pairs, value }
}
