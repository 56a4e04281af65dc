"""A target that records every whole request, and answers as a case says."""

import socket
import threading

import wire


class Origin:
    """Runs until the program ends."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.seen, self.part, self.played = [], None, threading.Event()
        self.connections = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            arguments = (connection, self.connections)
            threading.Thread(target=self.meet, args=arguments, daemon=True).start()

    def take(self):
        """What came since this was last asked: (number of the connection, message or Unclear)."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def answer(self, part):
        """From now on, `/a` is answered as this case says; None: with 200."""
        self.played.clear()
        self.part = part

    def meet(self, connection, number):
        with connection:
            try:
                self.serve(connection, number)
            except OSError:
                pass

    def serve(self, connection, number):
        came = b""
        while True:
            try:
                found = wire.read(came, "request")
            except wire.Unclear as why:
                with self.lock:
                    self.seen.append((number, why))
                return
            if not found:
                data = connection.recv(65536)
                if not data:
                    return
                came += data
                continue
            message, used = found
            came = came[used:]
            if message.line.startswith("GET /health "):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                continue
            with self.lock:
                self.seen.append((number, message))
            if self.part is None or " /a " not in message.line:
                body = b"" if message.line.startswith("HEAD ") else b"ok"
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
                continue
            end = self.part.get("end")
            wire.play(connection, self.part, "say")
            if end == "reset":
                wire.reset(connection)
            self.played.set()
            if end:
                return
