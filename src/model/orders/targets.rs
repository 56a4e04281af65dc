//! Orders about targets: which of them drain, and lists that stand instead of the file's.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::settings::TargetSettings;
use crate::model::target::Address;

/// The targets that get no new requests, by address.
pub type Drained = BTreeSet<Address>;

/// The targets of a colour, instead of those of the file.
pub type Targets = BTreeMap<Colour, Vec<Address>>;

impl Orders {
    /// The targets of a colour, which the file lists as `written`.
    #[must_use]
    pub fn targets_of(&self, colour: Colour, written: &[TargetSettings]) -> Vec<TargetSettings> {
        let Some(ordered) = self.targets.get(&colour) else { return written.to_vec() };
        let target = |address: &Address| {
            // What the file says of this very address still holds.
            let known = written.iter().find(|target| target.address == *address);
            known.cloned().unwrap_or_else(|| TargetSettings {
                address: address.clone(),
                weight: 1,
                backup: false,
            })
        };
        ordered.iter().map(target).collect()
    }

    /// Whether requests are treated as if nothing were ordered: what drains, and where the list of
    /// targets comes from, is no matter of theirs.
    #[must_use]
    pub fn leave_requests_alone(&self) -> bool {
        let others = Self { drained: Drained::new(), targets: Targets::new(), ..self.clone() };
        others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, weight: u32) -> TargetSettings {
        TargetSettings { address: address.parse().unwrap(), weight, backup: false }
    }

    #[test]
    fn a_list_that_is_ordered_stands_instead_of_the_files_and_keeps_what_it_says_of_the_same_target()
     {
        let written = [target("10.0.0.1:80", 3), target("10.0.0.2:80", 1)];
        let mut orders = Orders::default();
        assert_eq!(orders.targets_of(Colour::Green, &written), written);
        let list = vec!["10.0.0.9:80".parse().unwrap(), "10.0.0.1:80".parse().unwrap()];
        orders.targets.insert(Colour::Green, list);
        let expected = [target("10.0.0.9:80", 1), target("10.0.0.1:80", 3)];
        assert_eq!(orders.targets_of(Colour::Green, &written), expected);
        assert_eq!(orders.targets_of(Colour::Blue, &written), written);
    }

    #[test]
    fn orders_about_targets_are_written_as_addresses_and_leave_requests_alone() {
        let mut orders = Orders::default();
        orders.drained.insert("10.0.0.2:80".parse().unwrap());
        orders
            .targets
            .insert(Colour::Blue, vec!["unix:/run/app.sock".parse().unwrap()]);
        let written = serde_json::to_value(&orders).unwrap();
        let expected = serde_json::json!({
            "drained": ["10.0.0.2:80"], "targets": { "blue": ["unix:/run/app.sock"] }
        });
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_value::<Orders>(written).unwrap(), orders);
        assert!(orders.leave_requests_alone() && !orders.is_empty());
    }
}
