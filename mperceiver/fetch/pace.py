"""Connections on which a server must keep a pace: one that sends a byte a second would hold a job for weeks, and no time limit between
two bytes would end it.

The pace holds for all that is read: the headers of an answer, its body, the chunks of a body, a listing. Only the time counts in which
this side waits for bytes, not the time in which it writes them to a slow disk.
"""

import io
import socket
import time
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

WINDOW_S = 30  # of waiting, from the first byte on
LEAST_BYTES = 30_000  # that must come in each window: a kilobyte a second


class TooSlow(OSError):
    """A server sends so slowly that the file would not come. The message says how slowly."""


class _Bytes(io.RawIOBase):
    """What is read from a socket. Raises TooSlow after a window in which too little came."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._waited_s, self._came, self._begun = 0.0, 0, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        start = time.monotonic()
        count = self._raw.readinto(buffer)
        if self._begun:
            self._waited_s += time.monotonic() - start
            self._came += count or 0
        self._begun = True
        if self._waited_s >= WINDOW_S:
            if count and self._came < LEAST_BYTES * self._waited_s / WINDOW_S:
                raise TooSlow(f"the server sends too slowly ({self._came} bytes in {self._waited_s:.0f} s)")
            self._waited_s, self._came = 0.0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Socket:
    """A socket whose answers are read through ``_Bytes``; all else is the socket's own."""

    def __init__(self, own: socket.socket) -> None:
        self._own = own

    def makefile(self, mode: str = "rb", buffering: int = -1) -> io.BufferedReader:
        assert mode == "rb", "answers are bytes"
        return io.BufferedReader(_Bytes(self._own.makefile("rb", buffering=0)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class _Http(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _Socket(self.sock)


class _Https(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock: Any = _Socket(self.sock)


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https


class _Adapter(HTTPAdapter):
    """Makes the connections of a session, also those through a proxy."""

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        super().init_poolmanager(*args, **settings)
        _use_paced_pools(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **settings: Any) -> Any:
        manager = super().proxy_manager_for(*args, **settings)
        _use_paced_pools(manager)
        return manager


def _use_paced_pools(manager: urllib3.PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def session() -> requests.Session:
    """A session of requests whose servers must keep the pace."""
    made = requests.Session()
    made.mount("http://", _Adapter())
    made.mount("https://", _Adapter())
    return made
