"""Plays the parts of a case on a socket, and reads messages as strictly as RFC 9112 allows."""

import socket
import struct
import time

TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Unclear(Exception):
    """Bytes that two readers could read in two ways."""


class Message:
    """A message as it came: names of fields in small letters, bytes as latin-1 text."""

    def __init__(self, lines):
        self.line, *rest = lines
        self.fields = [field(line) for line in rest]
        self.body, self.trailers = b"", []

    def all(self, name):
        return [value for own, value in self.fields if own == name]

    def status(self):
        words = self.line.split(" ")
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def read(data, kind):
    """The message at the start of `data` and its length; None if it is not whole. `kind`: "request",
    "answer", "ended" (an answer whose connection has ended) or "bare" (one without content)."""
    found = section(data)
    if not found:
        return None
    lines, at = found
    if not lines:
        raise Unclear("an empty line where a message begins")
    message = Message(lines)
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if kind == "bare":
        pass
    elif not lengths and not codings:
        if kind == "answer":
            return None
        if kind == "ended":
            message.body, at = data[at:], len(data)
    elif not codings and len(lengths) == 1 and lengths[0].isascii() and lengths[0].isdigit():
        message.body = data[at : at + int(lengths[0])]
        at += int(lengths[0])
        if len(data) < at:
            return None
    elif not lengths and len(codings) == 1 and codings[0].lower() == "chunked":
        content = chunks(data, at)
        found = content and section(data[content[1] :])
        if not found:
            return None
        message.body, message.trailers = content[0], found[0]
        for line in message.trailers:
            field(line)
        at = content[1] + found[1]
    else:
        raise Unclear(f"lengths {lengths}, codings {codings}")
    return message, at


def section(data):
    """Lines up to the blank one, and where the bytes after it begin."""
    lines, at = [], 0
    while True:
        end = at
        while end < len(data) and (data[end] >= 0x20 and data[end] != 0x7F or data[end] == 9):
            end += 1
        if data[end : end + 2] in (b"", b"\r"):
            return None
        if data[end : end + 2] != b"\r\n":
            raise Unclear(f"the byte {data[end]:#x} in a line")
        line, at = data[at:end].decode("latin-1"), end + 2
        if not line:
            return lines, at
        lines.append(line)


def field(line):
    name, colon, value = line.partition(":")
    if not colon or not name or not set(name) <= TOKEN:
        raise Unclear(f"the field {line!r}")
    return name.lower(), value.strip(" \t")


def chunks(data, at):
    """What the chunks from `at` on hold, and where the trailer section begins."""
    body = b""
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return None
        line = data[at : end + 1]
        if not line.endswith(b"\r\n") or not line[:-2] or line[:-2].strip(b"0123456789abcdefABCDEF"):
            raise Unclear(f"the chunk size {line!r}")
        size, at = int(line, 16), end + 1
        if size == 0:
            return body, at
        if len(data) < at + size + 2:
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise Unclear("a chunk that does not end with CRLF")
        body += data[at : at + size]
        at += size + 2


def play(connection, case, key):
    """Sends what the case says, piece by piece; the other side may have closed before its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = b""
    try:
        for part in [*case[key], "wait"]:
            if part not in ("wait", "end"):
                text = part if isinstance(part, str) else part["of"] * part["times"]
                waiting += text.encode("latin-1")
                continue
            send(connection, waiting, case.get("pace") == "byte")
            waiting = b""
            if part == "end":
                connection.shutdown(socket.SHUT_WR)
            else:
                # A segment of its own, which the other side has time to look at; and where what is
                # read together decides what an answer becomes, has looked at.
                time.sleep(0.015)
                if key == "say":
                    wait_until_read(connection)
    except OSError:
        pass


def wait_until_read(connection):
    """Until the other side has taken what was sent: the kernel knows. One that takes nothing is not
    waited for."""
    own, other = named(connection.getsockname()), named(connection.getpeername())
    until = time.monotonic() + 1
    while time.monotonic() < until:
        with open("/proc/net/tcp", encoding="ascii") as table:
            _, _, row = table.read().partition(f": {other} {own} ")
        # Behind the addresses come the state and both queues.
        if not row or row.split(" ")[1].endswith(":00000000"):
            return
        time.sleep(0.005)


def named(address):
    """An address as the kernel's table names it: a number in the machine's own order, and a port."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"


def send(connection, data, byte_by_byte):
    if not byte_by_byte:
        connection.sendall(data)
        return
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.0002)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Client:
    """One connection to a proxy."""

    def __init__(self, port):
        self.connection = socket.create_connection(("127.0.0.1", port), 10)
        self.came, self.ended = b"", False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def ask(self, text):
        try:
            self.connection.sendall(text.encode("latin-1"))
        except OSError:
            pass

    def more(self, patience):
        """Reads what comes; False if nothing does, or nothing can any more."""
        if self.ended:
            return False
        self.connection.settimeout(patience)
        try:
            data = self.connection.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            data = b""
        self.came += data
        self.ended = not data
        return True

    def answer(self, method, patience):
        """(interim answers, the final one, whether it is cut); None if none comes."""
        interim = 0
        while True:
            head = read(self.came, "bare")
            status = head[0].status() if head else 0
            bare = method == "HEAD" or status in (204, 304) or status < 200
            kind = "bare" if bare else "ended" if self.ended else "answer"
            found = read(self.came, kind)
            if found:
                self.came = self.came[found[1] :]
                if 100 <= status < 200 and status != 101:
                    interim += 1
                    continue
                return interim, found[0], False
            if not self.more(patience):
                return (interim, head[0], True) if head else None
