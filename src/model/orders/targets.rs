//! Orders about targets: which of them drain, and lists that stand instead of the file's.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::model::colour::Colour;
use crate::model::orders::Orders;
use crate::model::settings::TargetSettings;
use crate::model::target::Address;

/// The targets that get no new requests, by address.
pub type Drained = BTreeSet<Address>;

/// The targets of a colour, instead of those of the file.
pub type Targets = BTreeMap<Colour, Vec<Address>>;

/// What was ordered before a promotion gave its colour other targets: it is put back unless the
/// promotion comes to its switch, even by the next start of a daemon that was killed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// The colour.
    pub colour: Colour,
    /// Its list; `None`: that of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<Address>>,
    /// What drained, and is in neither pool any more.
    #[serde(default, skip_serializing_if = "Drained::is_empty")]
    pub drained: Drained,
}

impl Orders {
    /// Gives a colour this list (`None`: that of the file), for good or until it is known what becomes
    /// of a promotion. What is in neither pool then drains no longer: nobody could make it ready, and
    /// should it come back one day, nobody would remember.
    pub fn set_targets(
        &mut self,
        colour: Colour,
        list: Option<Vec<Address>>,
        provisional: bool,
        is_there: impl Fn(&Address) -> bool,
    ) {
        let targets = self.targets.get(&colour).cloned();
        // Only what this takes away: what is made ready meanwhile stays ready.
        let gone = self.drained.iter().filter(|address| !is_there(address));
        let former = Former { colour, targets, drained: gone.cloned().collect() };
        self.former = provisional.then_some(former);
        self.put(colour, list);
        self.drained.retain(is_there);
    }

    /// Puts back what a promotion that came to nothing had changed; whether there was something.
    pub fn take_targets_back(&mut self) -> bool {
        let Some(former) = self.former.take() else { return false };
        self.put(former.colour, former.targets);
        self.drained.extend(former.drained);
        true
    }

    fn put(&mut self, colour: Colour, list: Option<Vec<Address>>) {
        match list {
            Some(list) => drop(self.targets.insert(colour, list)),
            None => drop(self.targets.remove(&colour)),
        }
    }

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

    /// Whether requests are treated as if nothing were ordered: what drains or is held, and where the list
    /// of targets comes from, is no matter of theirs.
    #[must_use]
    pub fn leave_requests_alone(&self) -> bool {
        let (drained, targets) = (Drained::new(), Targets::new());
        let others = Self { drained, targets, former: None, held: None, ..self.clone() };
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
    fn what_a_promotion_changed_for_nothing_is_put_back_to_the_letter() {
        let [old, new, gone]: [Address; 3] =
            ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"].map(|text| text.parse().unwrap());
        let mut orders = Orders::default();
        orders.drained.extend([old.clone(), gone.clone()]);
        let before = orders.clone();
        orders.set_targets(Colour::Green, Some(vec![new.clone()]), true, |it| *it == old);
        assert_eq!(orders.drained.iter().collect::<Vec<_>>(), [&old]);
        assert_eq!(orders.targets[&Colour::Green], [new]);
        assert!(orders.leave_requests_alone());
        let written = serde_json::to_string(&orders).unwrap();
        let mut read: Orders = serde_json::from_str(&written).unwrap();
        let mut made_ready = read.clone();
        assert!(read.take_targets_back());
        assert_eq!(read, before);
        made_ready.drained.remove(&old);
        assert!(made_ready.take_targets_back());
        assert_eq!(made_ready.drained, Drained::from([gone]), "what was made ready meanwhile is");
        assert!(!read.take_targets_back());
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
