//! The steps of a request, each by itself, so that callgrind can count what one costs. It measures
//! nothing: `count.py` runs it and reads the counts of the functions in `step`.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proxyd::http1::framing::Framing;
use proxyd::http1::head::Asked;
use proxyd::http1::head::HeadLimits;
use proxyd::http1::rewrite::ClientFacts;
use proxyd::http1::rewrite::ConnectionLine;
use proxyd::http1::rewrite::Homeward;
use proxyd::http1::rewrite::Onward;
use proxyd::model::fault::Outcome;
use proxyd::model::pool::Pool;
use proxyd::model::route::HostRule;
use proxyd::model::route::Route;
use proxyd::model::route::Routes;
use proxyd::model::settings::AccessLog as AccessLogSettings;
use proxyd::model::settings::LogDestination;
use proxyd::model::settings::LogFormat;
use proxyd::model::settings::TargetSettings;
use proxyd::model::settings::Timeouts;
use proxyd::model::target::Target;
use proxyd::observe::access::AccessLog;
use proxyd::observe::access::Entry;
use proxyd::observe::access::Fixed;
use proxyd::observe::metrics::Metrics;
use proxyd::proxy::clock::Clock;
use proxyd::proxy::clock::Watch;
use proxyd::proxy::clock::Watched;
use tokio::time::Instant;

/// How often each step is done: enough that what happens once in many (a buffer that is handed over)
/// counts with its share.
const TIMES: usize = 2000;

const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 100, target: 16 * 1024 };

/// What a browser sends.
const REQUEST: &[u8] = b"GET /api/v1/orders?page=2 HTTP/1.1\r\n\
Host: app500.example.com\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.7,ko;q=0.3\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Referer: https://app500.example.com/orders\r\n\
Connection: keep-alive\r\n\
Cookie: session=8c1f0f6c9d; theme=dark\r\n\
Cache-Control: no-cache\r\n\
Priority: u=0, i\r\n\r\n";

/// What an application answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
Server: app\r\n\
Date: Mon, 23 Nov 2026 00:00:00 GMT\r\n\
Content-Type: application/json\r\n\
Content-Length: 1043\r\n\
Vary: Accept-Encoding\r\n\
Cache-Control: no-store\r\n\
ETag: \"5f3c-abc\"\r\n\
Connection: keep-alive\r\n\r\n";

/// Each step once, in a function that stays one.
mod step {
    use std::hint::black_box;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use proxyd::http1::head;
    use proxyd::http1::head::Asked;
    use proxyd::http1::head::Fields;
    use proxyd::http1::head::HeadLimits;
    use proxyd::http1::head::RequestHead;
    use proxyd::http1::head::ResponseHead;
    use proxyd::http1::rewrite;
    use proxyd::http1::rewrite::Homeward;
    use proxyd::http1::rewrite::Onward;
    use proxyd::model::pool::Pool;
    use proxyd::model::route::Routes;
    use proxyd::model::route::host_of;
    use proxyd::observe::access::AccessWriter;
    use proxyd::observe::access::Entry;
    use proxyd::observe::metrics::PoolMeters;
    use proxyd::proxy::balance;
    use proxyd::proxy::clock::Clock;
    use proxyd::sync::lease::Lease;
    use tokio::time::Instant;

    use super::Resting;

    #[inline(never)]
    pub(super) fn parse_request(bytes: &[u8], fields: &mut Fields, limits: &HeadLimits) -> bool {
        black_box(head::request(bytes, fields, limits)).is_ok()
    }

    #[inline(never)]
    pub(super) fn parse_answer(
        bytes: &[u8],
        fields: &mut Fields,
        limits: &HeadLimits,
        to: Asked,
    ) -> bool {
        black_box(head::response(bytes, fields, limits, to)).is_ok()
    }

    #[inline(never)]
    pub(super) fn rewrite_request(
        out: &mut Vec<u8>,
        onward: &Onward<'_>,
        head: &RequestHead<'_, '_>,
    ) {
        out.clear();
        black_box(rewrite::request(out, onward, head.fields.clone()));
    }

    #[inline(never)]
    pub(super) fn rewrite_answer(
        out: &mut Vec<u8>,
        homeward: &Homeward<'_>,
        head: &ResponseHead<'_, '_>,
    ) {
        out.clear();
        rewrite::response(out, homeward, head.fields.clone());
    }

    #[inline(never)]
    pub(super) fn route_a_host(routes: &Routes, authority: &str, path: &str) -> bool {
        host_of(authority).is_some_and(|host| black_box(routes.find(&host, path)).is_ok())
    }

    #[inline(never)]
    pub(super) fn route_a_path(routes: &Routes, host: &str, path: &str) -> bool {
        black_box(routes.find(host, path)).is_ok()
    }

    #[inline(never)]
    pub(super) fn take_and_give_a_lease(pool: &Arc<Pool>) {
        drop(black_box(Lease::take(Arc::clone(pool), 0)));
    }

    #[inline(never)]
    pub(super) fn pick_a_target(pool: &Pool) -> Option<usize> {
        balance::pick(pool, 0, &[])
    }

    #[inline(never)]
    pub(super) fn count_and_time_an_answer(meters: &PoolMeters, took: Duration) {
        meters.answered(200, took);
    }

    #[inline(never)]
    pub(super) fn log_a_line(writer: &AccessWriter, entry: &Entry<'_>) {
        writer.write(entry);
    }

    #[inline(never)]
    pub(super) fn begin_and_end_a_watch(clock: &Rc<Clock>, until: Instant) {
        drop(black_box(clock.watch(|watch| Resting { until, _watch: watch })));
    }

    #[inline(never)]
    pub(super) fn tick_over_10_000_that_rest(clock: &Clock, now: Instant) {
        clock.tick(now, false);
    }
}

fn main() -> std::io::Result<()> {
    heads();
    routes();
    counts();
    deadlines();
    log()
}

fn heads() {
    use proxyd::http1::head;
    use proxyd::http1::head::Fields;
    use proxyd::http1::head::Parsed;

    let client = ClientFacts::new(std::net::Ipv4Addr::new(192, 0, 2, 17).into(), 443, true, false);
    let (mut asked, mut answered, mut room) =
        (Fields::default(), Fields::default(), Fields::default());
    let request = head::request(REQUEST, &mut asked, &LIMITS);
    let answer = head::response(ANSWER, &mut answered, &LIMITS, Asked::Other);
    let (Ok(Parsed::Whole(request)), Ok(Parsed::Whole(answer))) = (request, answer) else { return };
    let onward = Onward {
        method: request.method,
        target: request.path_and_query(),
        host: b"app500.example.com",
        body: request.body,
        expects_continue: false,
        upgrade: None,
        request_id: b"0123456789abcdef",
        nominates: request.nominates,
        ends_here: None,
        client: &client,
    };
    let homeward = Homeward {
        status: answer.status,
        reason: answer.reason,
        framing: Some(Framing::Length(1043)),
        connection: ConnectionLine::None,
        nominates: answer.nominates,
        extras: None,
    };
    let mut out = Vec::with_capacity(4096);
    for _ in 0..TIMES {
        step::parse_request(black_box(REQUEST), &mut room, &LIMITS);
        step::parse_answer(black_box(ANSWER), &mut room, &LIMITS, Asked::Other);
        step::rewrite_request(&mut out, black_box(&onward), &request);
        step::rewrite_answer(&mut out, black_box(&homeward), &answer);
    }
}

/// A host among a thousand, and a path among a hundred of one host.
fn routes() {
    let route =
        |host, path| Route { host, path, number: 0, upstream: 0, timeouts: Timeouts::default() };
    let hosts = (0..1000).map(|at| {
        let path = if at % 10 == 9 { "/api" } else { "/" };
        route(HostRule::Exact(format!("app{at}.example.com")), path.to_owned())
    });
    let hosts = Routes::new(hosts.collect());
    let paths = (0..100).map(|at| route(HostRule::Any, format!("/service/{at:03}")));
    let paths = Routes::new(paths.collect());
    for _ in 0..TIMES {
        step::route_a_host(&hosts, black_box("app500.example.com:443"), "/api/v1/orders");
        step::route_a_path(&paths, "any", black_box("/service/050/orders"));
    }
}

/// What every request counts, with three targets to choose from.
fn counts() {
    let targets = (1..=3).filter_map(|at| {
        let address = format!("10.0.0.{at}:80").parse().ok()?;
        Some(Arc::new(Target::new(&TargetSettings { address, weight: 1, backup: false }, 1)))
    });
    let pool = Arc::new(Pool::new("app".into(), None, targets.collect(), 1));
    let meters = Metrics::new("0").pool(&pool);
    // The same draws each time.
    fastrand::seed(1);
    for _ in 0..TIMES {
        step::take_and_give_a_lease(black_box(&pool));
        black_box(step::pick_a_target(black_box(&pool)));
        step::count_and_time_an_answer(&meters, black_box(Duration::from_micros(8700)));
    }
}

/// Rests until then.
struct Resting {
    until: Instant,
    _watch: Watch,
}

impl Watched for Resting {
    fn tick(&self, _now: Instant) -> Option<Instant> {
        Some(self.until)
    }
}

/// What has a deadline, beside ten thousand idle connections whose time comes within the next minutes,
/// but not yet.
fn deadlines() {
    const TICK: Duration = Duration::from_millis(100);
    let clock = Rc::new(Clock::default());
    let mut now = Instant::now();
    let beyond = now + TICK * (TIMES as u32 + 1);
    let resting: Vec<_> = (0..10_000)
        .map(|at| beyond + Duration::from_millis(at * 10))
        .map(|until| clock.watch(|watch| Resting { until, _watch: watch }))
        .collect();
    // They are new to the first.
    clock.tick(now, false);
    for _ in 0..TIMES {
        step::begin_and_end_a_watch(&clock, black_box(beyond));
    }
    for _ in 0..TIMES {
        now += TICK;
        step::tick_over_10_000_that_rest(&clock, black_box(now));
    }
    drop(resting);
}

fn log() -> std::io::Result<()> {
    let settings =
        AccessLogSettings { to: LogDestination::File("/dev/null".into()), format: LogFormat::Json };
    let log = AccessLog::open(&settings, Metrics::new("0"))?;
    let writer = log.writer();
    let place = Fixed::target("app", "green", "10.0.0.1:80");
    let listener = Fixed::listener("0.0.0.0:443");
    for at in 0..TIMES {
        let at = Duration::from_micros(1_795_464_000_000_000 + 125 * at as u64);
        step::log_a_line(&writer, black_box(&entry(at, &place, &listener)));
    }
    drop(writer);
    Ok(())
}

fn entry<'a>(at: Duration, place: &'a Fixed, listener: &'a Fixed) -> Entry<'a> {
    Entry {
        at,
        client: "192.0.2.17",
        method: b"GET",
        scheme: "https",
        host: b"app500.example.com",
        target: b"/api/v1/orders?page=2",
        protocol: "HTTP/1.1",
        status: 200,
        bytes_in: 0,
        bytes_out: 1043,
        place,
        attempts: 1,
        connect: None,
        first_byte: Some(Duration::from_micros(8120)),
        took: Duration::from_micros(8700),
        outcome: Outcome::Answered,
        fault: None,
        request_id: b"0123456789abcdef",
        referer: Some(b"https://app500.example.com/orders"),
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"),
        generation: 8,
        moved: None,
        listener,
    }
}
