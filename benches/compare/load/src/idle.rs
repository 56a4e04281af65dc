//! Many connections that have asked once and then stand idle.

use std::io;
use std::io::Read;
use std::io::Write;

use crate::Failure;
use crate::args::Args;
use crate::client::Dialer;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let dialer = Dialer::new(args)?;
    let mut open = Vec::new();
    let mut errors = 0;
    for _ in 0..args.number("count", 5000)? {
        let client = dialer.connect().and_then(|mut client| {
            client.ask(REQUEST)?;
            Ok(client.rest())
        });
        match client {
            Ok(client) => open.push(client),
            Err(error) => {
                if errors == 0 {
                    eprintln!("load: idle: {error}");
                }
                errors += 1;
            }
        }
    }
    println!(r#"{{"ready":{},"errors":{errors}}}"#, open.len());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
