"""A TCP proxy between a client and a server, whose connections a test can break."""

import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self


class TcpProxy:
    """Passes bytes on, both ways, until a test says otherwise."""

    def __init__(self, target: str) -> None:
        self.redirect(target)
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._refusing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.cut()

    def redirect(self, target: str) -> None:
        """Pass new connections on to `target`, host:port."""
        host, port = target.rsplit(":", 1)
        self._server = (host, int(port))

    def cut(self) -> None:
        """Break every connection, with a reset towards both sides."""
        with self._lock:
            for end in self._open:
                # Without lingering, so that `close` sends a reset.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RD)
                end.close()
            self._open.clear()

    def refuse(self, *, refusing: bool = True) -> None:
        """Break every new connection at once, or pass them on again."""
        self._refusing = refusing

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.accepted += 1
            if self._refusing:
                client.close()
                continue
            server = socket.create_connection(self._server)
            with self._lock:
                self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
