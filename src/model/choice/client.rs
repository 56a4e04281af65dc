//! Where a client is that comes through proxies: the last address of `X-Forwarded-For` that no
//! trusted proxy has.

use std::net::IpAddr;

use ipnet::IpNet;

/// The client's address. `peer` is at the other end of the connection; `chains` are the values of
/// `X-Forwarded-For`, in order. They are believed only from a trusted peer, and only back to the
/// first address that is not trusted: whatever stands before it, that one may have made up. A word
/// that is no address ends the chain, too.
#[must_use]
pub fn address<'a>(
    peer: IpAddr,
    trusted: &[IpNet],
    chains: impl Iterator<Item = &'a [u8]>,
) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(&client) {
        return client;
    }
    let values: Vec<&[u8]> = chains.collect();
    let words = values
        .iter()
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','));
    for word in words {
        let Some(address) = read(word) else { break };
        client = address;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

fn read(word: &[u8]) -> Option<IpAddr> {
    let word = std::str::from_utf8(word.trim_ascii()).ok()?;
    word.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, chains: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let chains = chains.iter().map(|chain| chain.as_bytes());
        address(peer.parse().unwrap(), &trusted, chains).to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        assert_eq!(of("198.51.100.1", &["203.0.113.9"]), "198.51.100.1");
        assert_eq!(of("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn what_stands_before_the_first_address_that_is_not_trusted_is_not_believed() {
        let claimed = ["6.6.6.6, 203.0.113.9", "10.1.1.1 ,10.2.2.2"];
        assert_eq!(of("10.0.0.1", &claimed), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["fd00::7, 10.2.2.2"]), "fd00::7", "the first of them all");
    }

    #[test]
    fn a_word_that_is_no_address_ends_the_chain() {
        assert_eq!(of("10.0.0.1", &["203.0.113.9, unknown, 10.2.2.2"]), "10.2.2.2");
        assert_eq!(of("10.0.0.1", &["", "203.0.113.9,"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }
}
