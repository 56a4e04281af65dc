//! Each kind of value: what is accepted, and the way out of what is not.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::config::numbers::Mode;
use crate::config::numbers::Size;
use crate::config::numbers::SizeOrUnlimited;
use crate::config::numbers::Statuses;
use crate::config::numbers::Workers;
use crate::config::words::Prefix;
use crate::config::words::ProbeHost;
use crate::config::words::ProbePath;
use crate::config::words::Word;
use crate::model::route::HostRule;
use crate::model::target::Address;

fn hint<T: Word + std::fmt::Debug>(text: &str) -> String {
    T::parse(text).unwrap_err().hint.unwrap_or_default()
}

fn good<T: Word>(text: &str) -> bool {
    T::parse(text).is_ok()
}

#[test]
fn a_duration_has_a_unit() {
    for (text, millis) in [("250ms", 250), ("1s", 1000), ("2m", 120_000), ("1h", 3_600_000)] {
        assert_eq!(Duration::parse(text), Ok(Duration::from_millis(millis)));
    }
    for text in
        ["", "s", "1", "1.5s", "-1s", "1 s", "1d", "0s", "0ms", "99999999999999999999s", "9000h"]
    {
        assert!(!good::<Duration>(text), "{text}");
    }
    assert_eq!(hint::<Duration>("30"), "write \"30s\" for seconds");
}

#[test]
fn a_size_has_a_unit_and_a_range() {
    type Head = Size<1024, 1_048_576>;
    for (text, bytes) in [("32768B", 32768), ("64KiB", 65536), ("1MiB", 1 << 20)] {
        assert_eq!(Head::parse(text), Ok(Size(bytes)));
    }
    assert_eq!(hint::<Head>("65536"), "write \"65536B\" for bytes");
    assert_eq!(hint::<Head>("64k"), "write \"64KiB\"");
    assert_eq!(Head::parse("1023B").unwrap_err().what, "\"1023B\" is not from 1KiB to 1MiB");
    assert!(!good::<Head>("unlimited"));
    assert_eq!(SizeOrUnlimited::parse("unlimited"), Ok(SizeOrUnlimited(None)));
    assert_eq!(SizeOrUnlimited::parse("0B"), Ok(SizeOrUnlimited(Some(0))));
    assert!(!good::<SizeOrUnlimited>("99999999999GiB"));
}

#[test]
fn a_status_is_one_or_a_range() {
    assert_eq!(Statuses::parse("200").unwrap().0, 200..=200);
    assert_eq!(Statuses::parse("200-299").unwrap().0, 200..=299);
    for text in ["", "99", "100", "600", "2xx", "200-", "-200", "400-200"] {
        assert!(!good::<Statuses>(text), "{text}");
    }
    assert_eq!(hint::<Statuses>("299-200"), "write \"200-299\"");
}

#[test]
fn a_mode_is_four_octal_digits_that_let_the_owner_in() {
    assert_eq!(Mode::parse("0660"), Ok(Mode(0o660)));
    for text in ["660", "0o660", "0888", "06600", "0060", "+660"] {
        assert!(!good::<Mode>(text), "{text}");
    }
}

#[test]
fn workers_are_auto_or_a_number() {
    assert_eq!(Workers::parse("auto"), Ok(Workers(None)));
    assert_eq!(Workers::parse("4"), Ok(Workers(Some(4))));
    assert!(!good::<Workers>("0") && !good::<Workers>("many") && !good::<Workers>("-1"));
}

#[test]
fn a_bind_is_an_address_and_a_port() {
    for text in ["0.0.0.0:443", "[::]:443", "127.0.0.1:0"] {
        assert!(good::<SocketAddr>(text), "{text}");
    }
    for text in ["443", ":443", "*:443", "[::]:443x", "localhost:443", "0.0.0.0", "0.0.0.0:70000"] {
        assert!(!good::<SocketAddr>(text), "{text}");
    }
    assert!(hint::<SocketAddr>(":443").starts_with("write \"0.0.0.0:443\""));
}

#[test]
fn a_target_with_a_scheme_is_told_to_drop_it() {
    assert!(hint::<Address>("http://10.0.0.1:80").starts_with("leave out the scheme"));
    assert_eq!(hint::<Address>("10.0.0.5"), "write \"10.0.0.5:8080\" with its port");
}

#[test]
fn a_host_is_told_to_drop_port_and_scheme() {
    assert!(hint::<HostRule>("a.test:443").starts_with("leave out the port"));
    assert!(hint::<HostRule>("https://a.test").starts_with("leave out the scheme"));
    assert!(good::<HostRule>("*.a.test") && good::<HostRule>("*"));
}

#[test]
fn a_network_has_no_host_bits() {
    assert!(good::<IpNet>("10.0.0.0/8") && good::<IpNet>("fd00::/8") && good::<IpNet>("10.0.0.5"));
    assert_eq!(hint::<IpNet>("10.0.0.5/8"), "write \"10.0.0.0/8\", or the address alone");
    assert!(!good::<IpNet>("10.0.0.0/33") && !good::<IpNet>("office"));
}

#[test]
fn a_prefix_is_one_that_a_request_can_match() {
    for text in ["/", "/api", "/api/", "/a b", "/café", "/.well-known"] {
        assert!(good::<Prefix>(text), "{text}");
    }
    for text in
        ["", "api", "/a?b", "/a#b", "/a*", "/a%20b", "//", "/a//b", "/a/../b", "/a/./b", "/a//"]
    {
        assert!(!good::<Prefix>(text), "{text}");
    }
}

#[test]
fn a_probe_can_be_asked() {
    assert!(good::<ProbePath>("/actuator/health?full=1") && !good::<ProbePath>("health"));
    assert!(
        !good::<ProbePath>("/a b") && !good::<ProbePath>("/a\r\nX: 1") && !good::<ProbePath>("/#a")
    );
    assert!(good::<ProbeHost>("a.test") && good::<ProbeHost>("[::1]:80"));
    assert!(!good::<ProbeHost>("a@b") && !good::<ProbeHost>("a b") && !good::<ProbeHost>(""));
    assert!(good::<http::HeaderName>("X-Build") && !good::<http::HeaderName>("X Build"));
}

proptest! {
    #[test]
    fn a_duration_is_read_as_it_is_written(seconds in 1u64..30_000_000) {
        let duration = Duration::parse(&format!("{seconds}s"));
        prop_assert_eq!(duration, Ok(Duration::from_secs(seconds)));
        let same = Duration::parse(&format!("{}ms", seconds * 1000));
        prop_assert_eq!(same, Ok(Duration::from_secs(seconds)));
    }

    #[test]
    fn a_size_is_read_as_it_is_written(kib in 1u64..1_000_000) {
        let size = SizeOrUnlimited::parse(&format!("{kib}KiB"));
        prop_assert_eq!(size.clone(), Ok(SizeOrUnlimited(Some(kib * 1024))));
        prop_assert_eq!(SizeOrUnlimited::parse(&format!("{}B", kib * 1024)), size);
    }

    #[test]
    fn no_word_panics(text in "\\PC{0,40}") {
        good::<Duration>(&text);
        good::<Size<1, 2>>(&text);
        good::<Statuses>(&text);
        good::<Mode>(&text);
        good::<SocketAddr>(&text);
        good::<Address>(&text);
        good::<HostRule>(&text);
        good::<IpNet>(&text);
        good::<Prefix>(&text);
        good::<ProbePath>(&text);
        good::<ProbeHost>(&text);
    }
}
