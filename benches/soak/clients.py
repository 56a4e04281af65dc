"""The clients of the soak: each kind has a rate, and knows of every request what must come of it."""

import base64
import collections
import hashlib
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import traceback

PATTERN = bytes(range(251))
PATIENCE = 40


class Wrong(Exception):
    """What came is not what had to come."""


class Tally:
    """What became of all requests, by kind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = collections.Counter()
        self.answered = collections.Counter()
        self.failed = collections.Counter()
        self.statuses = collections.Counter()
        self.reasons = []
        self.told = 0
        self.stop = threading.Event()

    def begin(self, kind, count=1):
        """Requests are about to be sent; whether the proxy ever takes them in is not known yet."""
        with self.lock:
            self.sent[kind] += count

    def answer(self, kind, status, count=1):
        """The proxy has answered them."""
        with self.lock:
            self.answered[kind] += count
            self.statuses[kind, status] += count

    def fail(self, kind, why, count=1):
        with self.lock:
            self.failed[kind] += count
            if len(self.reasons) < 200:
                self.reasons.append(f"{time.strftime('%H:%M:%S')} {kind}: {why}")


class Ways:
    """Where the proxy listens, and what its certificates are signed by."""

    def __init__(self, plain, tls, authority):
        self.plain, self.tls = plain, tls
        self.context = ssl.create_default_context(cafile=authority)
        self.context.set_alpn_protocols(["http/1.1"])

    def connect(self, over_tls):
        port = self.tls if over_tls else self.plain
        stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if over_tls:
            stream = self.context.wrap_socket(stream, server_hostname="localhost")
        return stream


class Connection:
    """HTTP/1.1 by hand over one connection."""

    def __init__(self, stream):
        self.stream, self.spare, self.open = stream, b"", True

    def ask(self, tally, kind, request, upload=b"", slowly=0):
        """Sends a request; the status, the fields and the content that are answered."""
        tally.begin(kind)
        if slowly:
            for at in range(0, len(request), 8):
                self.stream.sendall(request[at : at + 8])
                time.sleep(slowly)
        else:
            self.stream.sendall(request + upload)
        status, fields = self.head()
        while 100 <= status < 200 and status != 101:
            status, fields = self.head()
        tally.answer(kind, status)
        content = b"" if status == 101 else b"".join(self.body(fields))
        if "close" in fields.get("connection", ""):
            self.close()
        return status, fields, content

    def head(self):
        while b"\r\n\r\n" not in self.spare:
            self.fill()
        head, _, self.spare = self.spare.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if not re.fullmatch(r"HTTP/1\.1 \d{3} ?.*", lines[0]):
            raise Wrong(f"a status line {lines[0]!r}")
        return int(lines[0][9:12]), dict(line.lower().split(": ", 1) for line in lines[1:])

    def body(self, fields):
        if "chunked" not in fields.get("transfer-encoding", ""):
            yield self.exactly(int(fields.get("content-length", 0)))
            return
        while size := int(self.line(), 16):
            yield self.exactly(size)
            self.line()
        self.line()

    def line(self):
        while b"\r\n" not in self.spare:
            self.fill()
        line, _, self.spare = self.spare.partition(b"\r\n")
        return line

    def exactly(self, length):
        parts, have = [self.spare], len(self.spare)
        while have < length:
            parts.append(self.read())
            have += len(parts[-1])
        whole = b"".join(parts)
        self.spare = whole[length:]
        return whole[:length]

    def fill(self):
        self.spare += self.read()

    def read(self):
        part = self.stream.recv(65536)
        if not part:
            raise Wrong("the connection ended")
        return part

    def close(self):
        self.open = False
        self.stream.close()

    def reset(self):
        """The end is a RST."""
        linger = struct.pack("ii", 1, 0)
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()


def get(path, more=""):
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}\r\n".encode()


def patterned(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


def expect(condition, why):
    if not condition:
        raise Wrong(why)


class Clients:
    """All kinds, each a thread, until told to stop."""

    def __init__(self, ways, tally, scale=1.0):
        self.ways, self.tally = ways, tally
        self.threads = []
        self.kept = threading.local()
        for kind, rate, turn in KINDS:
            self.start(kind, rate * scale, turn)

    def start(self, kind, rate, turn):
        thread = threading.Thread(target=self.run, args=(kind, 1 / rate, turn), daemon=True)
        self.threads.append(thread)
        thread.start()

    def run(self, kind, every, turn):
        due = time.monotonic()
        while not self.tally.stop.is_set():
            try:
                turn(self, kind)
            except (OSError, Wrong, ValueError) as error:
                self.kept.connection = None
                self.tally.fail(kind, f"{type(error).__name__}: {error}")
            except Exception:
                self.tally.fail(kind, traceback.format_exc())
                raise
            due = max(due + every, time.monotonic() - 5)
            self.tally.stop.wait(max(0, due - time.monotonic()))

    def join(self):
        self.tally.stop.set()
        for thread in self.threads:
            thread.join(PATIENCE * 2)

    def connection(self, over_tls, keep=True):
        """One that is kept by this thread, or a new one."""
        kept = getattr(self.kept, "connection", None)
        if not keep or kept is None or not kept.open:
            kept = Connection(self.ways.connect(over_tls))
        self.kept.connection = kept if keep else None
        return kept


def short(over_tls, keep):
    """A small GET to an application whose targets are killed: it may be asked for twice."""

    def turn(clients, kind):
        connection = clients.connection(over_tls, keep)
        status, _, content = connection.ask(clients.tally, kind, get("/app"))
        expect(status == 200 and content.startswith(b"here is "), f"{status} {content[:80]}")
        if not keep:
            connection.close()

    return turn


def upload(over_tls, chunked):
    content = patterned(200_000)
    digest = f"200000 {hashlib.sha256(content).hexdigest()}".encode()
    frame = "transfer-encoding: chunked" if chunked else f"content-length: {len(content)}"
    head = f"POST /long/echo HTTP/1.1\r\nhost: localhost\r\n{frame}\r\n\r\n".encode()
    parts = [content[at : at + 9999] for at in range(0, len(content), 9999)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"

    def turn(clients, kind):
        connection = clients.connection(over_tls)
        said = connection.ask(clients.tally, kind, head, framed if chunked else content)
        expect(said[0] == 200 and said[2] == digest, f"{said[0]} {said[2][:80]}")

    return turn


def download(over_tls):
    def turn(clients, kind):
        size = random.randrange(1, 700_000)
        connection = clients.connection(over_tls)
        status, _, content = connection.ask(clients.tally, kind, get(f"/long/page?{size}"))
        expect(status == 200 and content == patterned(size), f"{status}, {len(content)} of {size}")

    return turn


def websocket(clients, kind):
    connection = Connection(clients.ways.connect(True))
    key = base64.b64encode(os.urandom(16)).decode()
    more = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    request = get("/long/ws", f"{more}sec-websocket-key: {key}\r\n")
    status, fields, _ = connection.ask(clients.tally, kind, request)
    expect(status == 101 and "sec-websocket-accept" in fields, f"{status}")
    for number in range(10):
        text = f"number {number}".encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        connection.stream.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
        expect(connection.exactly(2 + len(text)) == bytes([0x81, len(text)]) + text, "an echo")
        time.sleep(0.1)
    connection.stream.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
    connection.close()


def slow_head(clients, kind):
    connection = clients.connection(False, keep=False)
    request = get("/long/slow", "x-padding: " + "x" * 60 + "\r\n")
    status, _, _ = connection.ask(clients.tally, kind, request, slowly=0.1)
    expect(status == 200, status)
    connection.close()


def slow_reader(clients, kind):
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.settimeout(PATIENCE)
    stream.connect(("127.0.0.1", clients.ways.plain))
    connection = Connection(stream)
    connection.read = lambda: (time.sleep(0.05), Connection.read(connection))[1]
    status, _, content = connection.ask(clients.tally, kind, get("/long/page?300000"))
    expect(status == 200 and content == patterned(300_000), f"{status}, {len(content)}")
    connection.close()


def aborting(clients, kind):
    """Goes away in the middle: of its head, its upload, the wait, the answer."""
    connection = clients.connection(random.random() < 0.5, keep=False)
    clients.tally.begin(kind)
    how = random.randrange(4)
    if how == 0:
        connection.stream.sendall(get("/app")[:20])
    elif how == 1:
        head = b"POST /long/echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999\r\n\r\n"
        connection.stream.sendall(head + patterned(5000))
    else:
        connection.stream.sendall(get("/long/page?600001"))
        if how == 3:
            connection.read()
    time.sleep(random.random() / 5)
    (connection.reset if random.random() < 0.5 else connection.close)()


# What may be answered, and "ends": an answer that had begun is broken off. A POST may meet a target that
# is just closing the connection that it goes over, and is never sent twice.
FAULTS = {
    "500": (500,), "interim": (200,), "early": (413, 502), "close": (200,), "stall": (504,),
    "drip": (504,), "garbage": (502,), "two_lengths": (502,), "truncated": ("ends",),
    "bad_chunk": (502, "ends"), "half_reset": ("ends",), "reset": (502,),
}  # fmt: skip


def faulty(clients, kind):
    """A target's fault is answered as such, or breaks off an answer that had begun; it never hangs."""
    what = random.choice(list(FAULTS))
    connection = clients.connection(random.random() < 0.5, keep=False)
    request, content = get(f"/faulty/{what}"), b""
    if what == "early":
        content = patterned(60_000)
        head = f"POST /faulty/early HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}"
        request = f"{head}\r\n\r\n".encode()
    try:
        status, _, _ = connection.ask(clients.tally, kind, request, content)
    except (Wrong, ConnectionError, ssl.SSLError) as error:
        expect("ends" in FAULTS[what], f"{what}: {error}")
    else:
        # 503: too many of them in a row, and the target is left alone for a while.
        expect(status in FAULTS[what] or status == 503, f"{what}: {status}")
    connection.close()


HOSTILE = [
    (False, b"\x00\xff" * 200),
    (False, b"GET / HTTP/1.1\nhost: a\n\n"),
    (False, b"POST /app HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"),
    (False, b"GET /app HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
    (False, b"GET /app HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n"),
    (False, b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n"),
    (False, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x04\x04\x00\x00\x00\x00\x00\xff\xff"),
    (True, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    (True, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 600),
    (True, b"\x16\x03\x01\xff\xff" + b"\x01" * 100),
    (True, b"\x80\x2e\x01\x00\x02" + b"\x01" * 60),
]  # fmt: skip


def hostile(clients, kind):
    """Bytes that mean no good: refused or ended, and never answered by a target."""
    to_tls, content = random.choice(HOSTILE)
    port = clients.ways.tls if to_tls else clients.ways.plain
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    clients.tally.begin(kind)
    heard = b""
    try:
        stream.sendall(content)
        while part := stream.recv(4096):
            heard += part
    except ConnectionError:
        pass
    stream.close()
    expect(b"x-origin" not in heard, f"{content[:40]} reached a target: {heard[:80]}")
    if heard.startswith(b"HTTP/1.1 "):
        expect(heard[9:10] in b"45", f"{content[:40]}: {heard[:40]}")
        if not to_tls:
            clients.tally.answer(kind, int(heard[9:12]))


def silent(clients, kind):
    """Half a head, or half a handshake, and then nothing: ended by the proxy's patience."""
    to_tls = random.random() < 0.5
    port = clients.ways.tls if to_tls else clients.ways.plain
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE)
    clients.tally.begin(kind)
    stream.sendall(b"\x16\x03\x01\x02\x00\x01" if to_tls else b"GET /app HTTP/1.1\r\nhost: ")
    heard = b""
    while part := stream.recv(4096):
        heard += part
    stream.close()
    if heard.startswith(b"HTTP/1.1 "):
        expect(heard[9:12] == b"408", heard[:40])
        clients.tally.answer(kind, 408)


def h2load(clients, kind):
    """A slice of HTTP/2, by a client of others: four connections, eight streams each."""
    count = 600
    url = f"https://localhost:{clients.ways.tls}/app"
    clients.tally.begin(kind, count)
    said = subprocess.run(
        ["h2load", "-n", str(count), "-c", "4", "-m", "8", "--rps", "50", url],
        capture_output=True, text=True, timeout=PATIENCE * 2,
    ).stdout  # fmt: skip
    numbers = re.search(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed", said)
    expect(numbers, said[-200:])
    done, succeeded, failed = map(int, numbers.groups())
    clients.tally.answer(kind, 200, succeeded)
    clients.tally.answer(kind, "not 200", done - succeeded)
    if succeeded != count:
        status = re.search(r"status codes: .*", said)
        why = f"{failed} of {count} failed; {status.group(0) if status else said[-200:]}"
        clients.tally.fail(kind, why, count - succeeded)


# Name, requests a second, what one is.
KINDS = [
    ("short, kept, plain", 60, short(False, True)),
    ("short, kept, TLS", 60, short(True, True)),
    ("short, new, plain", 20, short(False, False)),
    ("short, new, TLS", 10, short(True, False)),
    ("h2, by h2load", 1 / 4, h2load),
    ("upload, length", 4, upload(True, False)),
    ("upload, chunked", 4, upload(False, True)),
    ("download, plain", 4, download(False)),
    ("download, TLS", 4, download(True)),
    ("WebSocket", 2, websocket),
    ("slow head", 0.5, slow_head),
    ("slow reader", 0.5, slow_reader),
    ("aborting", 6, aborting),
    ("faulty target", 4, faulty),
    ("faulty target too", 4, faulty),
    ("hostile bytes", 2, hostile),
    ("silent", 0.2, silent),
]
