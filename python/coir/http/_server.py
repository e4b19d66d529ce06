"""The WSGI server: :class:`Server`, and :func:`serve` around it.

What is done with requests is C (:class:`coir._core.HTTPServer`); here it gets
its listeners, its options, and somebody to report errors to.
"""

from __future__ import annotations

import _socket
import fcntl
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import coir
from coir import _core
from coir.gevent.hub import get_hub

from ._listen import Listener, listen
from ._options import LIMITS
from ._proxy import TrustedProxies

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

__all__ = ["Server", "serve"]

_FORMATS = {"common": 1, "combined": 2, "json": 3}

#: Limits of the C server; the others are used here.
_CORE_LIMITS = [
    option.name for option in LIMITS if option.name != "graceful_timeout"
]
_DEFAULTS = {option.name: option.default for option in LIMITS}

#: Seconds that requests have to unwind once they were cancelled.
_UNWIND = 1.0


class Server:
    """A server of a WSGI application (PEP 3333), in this thread's hub.

    Each request is handled in a greenlet of its own, so an application that
    waits, by coir.gevent or a patched standard library, holds up nobody else.
    Connections that are idle or slow have no greenlet.

    :param app: the application.
    :param host: where to listen, with `port`: an address or a name; ``""``
        for all addresses.
    :param port: 0 for any that is free: see :attr:`port`.
    :param bind: in place of these, addresses as ``coir serve --bind`` takes
        them: ``"127.0.0.1:80"``, ``"[::]:80"``, ``"unix:/run/app.sock"``.
    :param sockets: in place of these, sockets that listen. They stay the
        caller's: the server has duplicates of them.
    :param ssl_context: serve TLS with it: an ``ssl.SSLContext`` for the side
        of the server.
    :param backlog: how many connections may wait in the kernel.
    :param reuse_port: others may listen on the port, too (SO_REUSEPORT).
    :param unix_mode: permissions of the file of a Unix socket.
    :param access_log: where a line for each request goes: the name of a file,
        ``"-"`` for standard output, a descriptor, or what is called with each
        line, ``logger.info`` for instance; None: nowhere.
    :param access_log_format: ``"common"``, ``"combined"`` or ``"json"``.
    :param logger: a ``logging.Logger`` for errors; ``"coir.http"`` else.
    :param script_name: the application's SCRIPT_NAME, ``"/app"``.
    :param trusted_proxies: whose ``X-Forwarded-*`` is believed: see
        :class:`TrustedProxies`.
    :param server_name: the field ``Server`` of responses; None: none.
    :param environ: put into the environ of each request.
    :param multiprocess: ``wsgi.multiprocess``.
    :param on_request: called after each request with its environ, the status
        and the headers of the response (None, if there were none), the bytes
        of its body, and the seconds it took.
    :param limits: those of ``coir serve``, by name; see the reference.

    As a context manager it is started, and stopped at the end.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        host: str = "127.0.0.1",
        port: int = 8000,
        *,
        bind: Iterable[str] | None = None,
        sockets: Iterable[Any] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        backlog: int = 1024,
        reuse_port: bool = False,
        unix_mode: int | None = None,
        access_log: str | int | Callable[[str], object] | None = None,
        access_log_format: str = "combined",
        logger: logging.Logger | None = None,
        script_name: str = "",
        trusted_proxies: Iterable[str] = (),
        server_name: str | None = None,
        environ: Mapping[str, Any] | None = None,
        multiprocess: bool = False,
        on_request: Callable[..., object] | None = None,
        **limits: Any,
    ) -> None:
        for name in limits:
            if name not in _DEFAULTS:
                raise TypeError(f"no such option: {name!r}")
        trusted = list(trusted_proxies)
        self.app = TrustedProxies(app, trusted) if trusted else app
        self.logger = logger or logging.getLogger("coir.http")
        self.ssl_context = ssl_context
        self.limits = {**_DEFAULTS, **limits}
        self._environ = dict(environ or {})
        self._multiprocess = multiprocess
        self._script_name = "/" + script_name.strip("/") if script_name else ""
        self._bind = self._addresses(host, port, bind, sockets)
        self._sockets = list(sockets) if sockets is not None else []
        self._listening = {
            "backlog": backlog,
            "reuse_port": reuse_port,
            "unix_mode": unix_mode,
        }
        self.listeners: list[Listener] = []
        self._log_path, log_fd, on_log = _open_log(access_log)
        self._log_fd = log_fd
        options = {
            name: self.limits[name]
            for name in _CORE_LIMITS
            if self.limits[name] is not None
        }
        options["server_name"] = server_name
        if access_log is not None:
            options["log_format"] = _FORMATS[access_log_format]
            options["log_fd"] = log_fd
        self.hub = get_hub()
        self._core = _core.HTTPServer(
            self.app,
            options,
            on_error=self.report,
            on_log=on_log,
            on_done=on_request,
            script_name=self._script_name,
        )
        self._has_listeners = False

    @staticmethod
    def _addresses(host: str, port: int, bind: Any, sockets: Any) -> list[str]:
        if bind is not None and sockets is not None:
            raise TypeError("bind or sockets, not both")
        if sockets is not None:
            return []
        if bind is not None:
            return [bind] if isinstance(bind, str) else list(bind)
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]

    # --- listening

    def listen(self) -> None:
        """Make the listening sockets, as :meth:`start` does.

        What connects from now on waits for :meth:`start`.

        :raises OSError: with the address that cannot be listened on.
        """
        if self._has_listeners:
            return
        self._has_listeners = True
        made = [listen(a, **self._listening) for a in self._bind]  # type: ignore[arg-type]
        for s in self._sockets:
            fd = fcntl.fcntl(s.fileno(), fcntl.F_DUPFD_CLOEXEC, 0)
            own = _socket.socket(fileno=fd)
            own.setblocking(False)
            made.append(Listener(own, ("fd", "", fd), None))
        self.listeners = made
        for listener in made:
            self._core.listen(
                listener.socket.fileno(),
                self._environ_of(listener),
                self.ssl_context,
            )
            listener.socket.detach()  # it is the C server's now

    def _environ_of(self, listener: Listener) -> dict[str, Any]:
        name = listener.name
        https = self.ssl_context is not None
        host, port = "localhost", "443" if https else "80"
        if isinstance(name, tuple):
            host, port = name[0], str(name[1])
            if host in ("0.0.0.0", "::"):
                host = _socket.gethostname()
        return {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_SOFTWARE": f"coir/{coir.__version__}",
            "SERVER_NAME": host,
            "SERVER_PORT": port,
            "SCRIPT_NAME": self._script_name,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if https else "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": _core.FileWrapper,
            "wsgi.input_terminated": True,
            **self._environ,
        }

    @property
    def port(self) -> int:
        """Port of the first listener, 0 of a Unix socket."""
        name = self.address
        return name[1] if isinstance(name, tuple) else 0

    @property
    def address(self) -> Any:
        """Address of the first listener, as of ``getsockname()``."""
        return self.listeners[0].name

    @property
    def urls(self) -> list[str]:
        """What it listens on, for people."""
        scheme = "http" if self.ssl_context is None else "https"
        return [listener.describe(scheme) for listener in self.listeners]

    # --- running

    @property
    def state(self) -> str:
        """``"new"``, ``"running"``, ``"stopping"``, ``"canceling"``,
        ``"closing"`` or ``"stopped"``."""
        return self._core.state

    def start(self) -> None:
        """Listen and accept connections. Does not block.

        The hub handles them whenever this greenlet, and others, wait.
        """
        self.listen()
        self._core.start()

    def pause(self) -> None:
        """Accept no connections for now; :meth:`start` goes on."""
        self._core.pause()

    def stop(self, timeout: float | None = None) -> None:
        """Stop gracefully, and wait for that.

        No connections are accepted any more; those between two requests are
        closed. Requests have `timeout` seconds (by default the limit
        ``graceful_timeout``) to end. Then they get GreenletExit, and a second
        later their connections are closed. A second call, from another
        greenlet, may shorten that.

        May be called from any thread.
        """
        if timeout is None:
            timeout = self.limits["graceful_timeout"] or None
        stop = self._core.stop
        if get_hub_if_ours(self.hub):
            stop(timeout, _UNWIND)
        else:
            self.hub.loop.run_callback_threadsafe(stop, timeout, _UNWIND)
        self._core.join()
        self.close()

    def close(self) -> None:
        """Close what was opened, without waiting for anything."""
        if self.state not in ("new", "stopped"):
            self._core.stop(0, 0)
        for listener in self.listeners:
            listener.close()
            listener.unlink()
        if self._log_path is not None and self._log_fd > 2:
            self._log_path = None  # first: another thread may close, too
            os.close(self._log_fd)

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it is stopped, for `timeout` seconds at most.

        :returns: whether it is.
        """
        return self._core.join(timeout)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Start, unless that was done, and wait until it is stopped.

        If the wait is ended otherwise, by KeyboardInterrupt say, it is
        stopped, and given `stop_timeout` seconds for that.
        """
        if self.state == "new":
            self.start()
        try:
            self._core.join()
        finally:
            if self.state != "stopped":
                self.stop(stop_timeout)
            else:
                self.close()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = ", ".join(self.urls) or ", ".join(self._bind)
        return f"<{type(self).__name__} {self.state} {where}>"

    # --- looking at it

    def counters(self) -> dict[str, int]:
        """Numbers of connections and requests: see the reference."""
        return self._core.counters()

    def report(
        self, environ: Mapping[str, Any] | None, exc: BaseException
    ) -> None:
        """An application failed. To be overridden by those who know better.

        The query is not logged: it may be nobody's business.
        """
        request = "a request"
        if environ:
            method = environ.get("REQUEST_METHOD")
            path = environ.get("SCRIPT_NAME", "") + environ.get(
                "PATH_INFO", ""
            )
            request = f"{method} {path!r}"
        self.logger.error("Error in %s", request, exc_info=exc)

    def reopen_log(self) -> None:
        """Open the file of the access log anew, after it was moved away."""
        if self._log_path is not None:
            fd = _open_append(self._log_path)
            os.dup2(fd, self._log_fd, inheritable=False)
            os.close(fd)


def get_hub_if_ours(hub: Any) -> bool:
    return _core.get_hub_if_exists() is hub


def _open_append(path: str) -> int:
    return os.open(
        path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
    )


def _open_log(log: Any) -> tuple[str | None, int, Any]:
    """The name of its file, its descriptor, and who is called else."""
    if log is None:
        return None, 0, None
    if log == "-":
        return None, 1, None
    if isinstance(log, int):
        return None, log, None
    if isinstance(log, (str, os.PathLike)):
        path = os.fspath(log)
        return path, _open_append(path), None
    if callable(log):
        return None, 0, lambda line: log(line.rstrip("\n"))
    raise TypeError(f"not an access log: {log!r}")


def serve(
    app: Callable[..., Iterable[bytes]],
    host: str = "127.0.0.1",
    port: int = 8000,
    **options: Any,
) -> None:
    """Serve an application until the process is told to end.

    In the main thread SIGTERM stops it gracefully, unless the program has a
    handler of its own for that; so does SIGINT, before KeyboardInterrupt.

    :param options: see :class:`Server`.
    """
    server = Server(app, host, port, **options)
    old: Any = None
    try:
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            old = signal.signal(
                signal.SIGTERM,
                lambda *_: server._core.stop(
                    server.limits["graceful_timeout"] or None, _UNWIND
                ),
            )
    except ValueError:
        pass  # not the main thread
    try:
        server.serve_forever()
    finally:
        if old is not None:
            signal.signal(signal.SIGTERM, old)
