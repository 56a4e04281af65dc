//! The product from outside: real `proxyd` and `proxyctl` processes, real sockets, real TLS, real
//! signals. Knows nothing of `src/`; what it expects is what the documentation promises.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_types,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests: a helper that cannot go on should stop the test and say where"
)]

mod account;
mod bodies;
mod canary;
mod cli;
mod contract;
mod drain;
mod edge_cases;
mod engine;
mod explain;
mod faults;
mod forwarding;
mod gate;
mod guard;
mod h2_clients;
mod h2_conformance;
mod h2_floods;
mod harness;
mod harness_tests;
mod history;
mod hostile;
mod hostile_h1;
mod hostile_h2;
mod http1;
mod http2;
mod http2_interim;
mod http2_link;
mod issue;
mod journal;
mod life;
mod limits;
mod maintenance;
mod many;
mod metrics;
mod pause;
mod privacy;
mod reload;
mod replay;
mod rescue;
mod retry;
mod rolling;
mod routing;
mod shed;
mod skew;
mod slow;
mod start;
mod streams;
mod switch;
mod timeouts;
mod tls;
mod tls_hostile;
mod upgrade;
mod verdict;
mod warmup;
mod why;
