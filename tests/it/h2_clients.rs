//! Other people's HTTP/2 clients, as many of them as are installed: what the proxy has against floods
//! and malformed frames is nothing that any of them meets.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::process::Stdio;

use crate::harness::Proxy;
use crate::harness::app;
use crate::harness::config::HOST;
use crate::harness::config::TLS_PORT;

/// What a client prints; nothing where it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    let ran = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("{program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn url(target: &str) -> String {
    format!("https://{HOST}:{TLS_PORT}{target}")
}

/// Asks `requests` times over a few connections, with `more` arguments.
#[track_caller]
fn h2load(proxy: &Proxy, requests: usize, target: &str, more: &[&str]) {
    let (requests_, to, url) =
        (requests.to_string(), format!("--connect-to={}", proxy.tls_address()), url(target));
    let args = [&["-n", &requests_, "-c", "4", "-m", "100", &to, &url], more].concat();
    let Some(said) = run("h2load", &args) else { return };
    let all = format!("{requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(said.contains(&all), "{said}");
    assert!(said.contains(&format!("{requests} 2xx")), "{said}");
}

#[test]
fn h2load_gets_every_answer() {
    let (_blue, _green, proxy) = app();
    h2load(&proxy, 4000, "/status?code=204", &[]);
    // Windows of 64 KiB: an update of each for every other piece of 16 KiB.
    h2load(&proxy, 12, "/large?bytes=10000000", &["-w", "16", "-W", "16"]);
    let upload = proxy.file("upload");
    fs::write(&upload, vec![b'u'; 500_000]).unwrap();
    h2load(&proxy, 40, "/echo", &["-d", upload.to_str().unwrap()]);
}

#[test]
fn nghttp_and_its_priorities_get_every_answer() {
    let (blue, _green, proxy) = app();
    let url = format!("https://{}/hello", proxy.tls_address());
    let host = format!(":authority: {HOST}");
    let Some(said) = run("nghttp", &["-nv", "-m", "50", "-H", &host, "-p", "200", &url]) else {
        return;
    };
    assert!(!said.contains("ENHANCE_YOUR_CALM"), "{said}");
    assert_eq!(blue.requests().len(), 50, "{said}");
}

#[test]
fn curl_gets_many_answers_at_once() {
    let (blue, _green, proxy) = app();
    let resolve = format!("{HOST}:{TLS_PORT}:{}", proxy.tls_address().ip());
    let upload = proxy.file("upload");
    fs::write(&upload, vec![b'u'; 5_000_000]).unwrap();
    let body = format!("@{}", upload.display());
    let common = ["-skf", "--http2", "--resolve", &resolve, "-w", "%{http_version} %{http_code}\n"];
    let many = url("/hello?[1-200]");
    let args =
        [&common[..], &["--parallel", "--parallel-max", "50", "-o", "/dev/null", &many]].concat();
    let Some(said) = run("curl", &args) else { return };
    assert_eq!(said.matches("2 200").count(), 200, "{said}");
    let echo = url("/echo");
    let args = [&common[..], &["-o", "/dev/null", "--data-binary", &body, &echo]].concat();
    assert_eq!(run("curl", &args).as_deref(), Some("2 200\n"));
    assert_eq!(blue.requests().len(), 201);
}
