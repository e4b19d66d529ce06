"""gunicorn's worker on Coir's server: ``gunicorn -k coir app:app``.

Where gunicorn does not know that name (it was started without a command line,
say), it is ``-k coir.http.gunicorn.Worker``.

What gunicorn's settings mean here: ``worker_connections`` limits the requests
that are handled at a time, not connections, of which idle ones cost nothing;
``keepalive`` is how long these stay; ``timeout`` watches the hub, as for other
asynchronous workers. The standard library is patched, as by gevent's worker.
"""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gunicorn
from gunicorn import config, sock
from gunicorn.http.wsgi import base_environ
from gunicorn.workers.base import Worker as _Base

import coir
from coir import _core
from coir.gevent import monkey, spawn
from coir.gevent.event import Event
from coir.gevent.hub import reinit

from ._proxy import TrustedProxies
from ._server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["Worker"]

VERSION = f"coir/{coir.__version__} gunicorn/{gunicorn.__version__}"


class Worker(_Base):  # type: ignore[misc]
    """A worker class for gunicorn. See the module."""

    def patch(self) -> None:
        """Make the standard library green. For subclasses that do not."""
        monkey.patch_all()

    def init_process(self) -> None:
        self.patch()
        reinit()
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        # The hub has a pipe of its own for that.
        signal.set_wakeup_fd(-1)

    # --- signals: handlers run in the main thread, maybe in the hub

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False
        self._wake()

    def handle_quit(self, sig: int, frame: Any) -> None:
        spawn(super().handle_quit, sig, frame)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        spawn(super().handle_usr1, sig, frame)

    def _wake(self) -> None:
        hub = _core.get_hub_if_exists()
        if hub is not None:
            hub.loop.run_callback(self._changed.set)

    # --- serving

    def run(self) -> None:
        self._changed = Event()
        self.server = server = self._make_server()
        server.start()
        while self.alive:
            self.notify()
            if self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                break
            self._changed.wait(self._notify_interval)
        # gunicorn kills who takes longer.
        server._core.stop(float(self.cfg.graceful_timeout), 1.0)
        while not server.join(self._notify_interval):
            self.notify()
        server.close()

    @property
    def _notify_interval(self) -> float:
        """Seconds; gunicorn kills who is silent for its ``timeout``."""
        return min(1.0, self.cfg.timeout / 3 or 1.0)

    _changed: Any = SimpleNamespace(set=lambda: None)

    def _make_server(self) -> Server:
        cfg = self.cfg
        environ = base_environ(cfg)
        for name in "wsgi.file_wrapper", "wsgi.multithread":
            environ.pop(name, None)
        environ["SERVER_SOFTWARE"] = VERSION
        environ["gunicorn.worker"] = self
        on_request = self._on_request if self._wants_requests() else None
        return _Server(
            self._application(),
            worker=self,
            sockets=self.sockets,
            ssl_context=sock.ssl_context(cfg) if cfg.is_ssl else None,
            environ=environ,
            multiprocess=cfg.workers > 1,
            script_name=os.environ.get("SCRIPT_NAME", ""),
            on_request=on_request,
            keep_alive=cfg.keepalive > 0,
            idle_timeout=float(cfg.keepalive),
            graceful_timeout=float(cfg.graceful_timeout),
            max_active=cfg.worker_connections,
            max_line=cfg.limit_request_line,
            max_fields=cfg.limit_request_fields,
            max_field=cfg.limit_request_field_size,
        )

    def _application(self) -> Callable[..., Any]:
        """The application, behind what the settings ask for."""
        app: Callable[..., Any] = self.wsgi
        if _is_changed(self.cfg, "pre_request", config.PreRequest):
            app = self._with_pre_request(app)
        if self.cfg.secure_scheme_headers and self.cfg.forwarded_allow_ips:
            app = _SecureSchemes(
                app,
                self.cfg.forwarded_allow_ips,
                self.cfg.secure_scheme_headers,
            )
        return app

    def _with_pre_request(self, app: Callable[..., Any]) -> Callable[..., Any]:
        def with_pre_request(environ: Any, start_response: Any) -> Any:
            self.cfg.pre_request(self, _Request(environ))
            return app(environ, start_response)

        return with_pre_request

    def _wants_requests(self) -> bool:
        """Is there anybody who wants to know of each request?"""
        cfg = self.cfg
        enabled = getattr(self.log, "access_log_enabled", None)
        return bool(
            enabled is not False
            or type(self.log).access.__module__ != "gunicorn.glogging"
            or cfg.max_requests > 0
            or _is_changed(cfg, "post_request", config.PostRequest)
        )

    def _on_request(
        self,
        environ: Any,
        status: str | None,
        headers: Any,
        sent: int,
        seconds: float,
    ) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self._changed.set()
        response = SimpleNamespace(
            status=status or "500 Internal Server Error",
            headers=headers or [],
            sent=sent,
            response_length=sent,
        )
        request = _Request(environ)
        self.log.access(response, request, environ, timedelta(seconds=seconds))
        if _is_changed(self.cfg, "post_request", config.PostRequest):
            self.cfg.post_request(self, request, environ, response)


class _Server(Server):
    """One that reports to gunicorn."""

    def __init__(self, *args: Any, worker: Worker, **kwargs: Any) -> None:
        self._worker = worker
        super().__init__(*args, **kwargs)

    def report(
        self, environ: Mapping[str, Any] | None, exc: BaseException
    ) -> None:
        method = path = "?"
        if environ:
            method, path = environ["REQUEST_METHOD"], environ["RAW_URI"]
        self._worker.log.error(
            "Error handling request %s %s", method, path, exc_info=exc
        )


class _Request:
    """What hooks and the access log look at of a request."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.method: str = environ["REQUEST_METHOD"]
        self.uri: str = environ["RAW_URI"]
        self.path: str = environ["PATH_INFO"]
        self.query: str = environ["QUERY_STRING"]
        self.scheme: str = environ["wsgi.url_scheme"]
        self.remote_addr = (environ["REMOTE_ADDR"], environ["REMOTE_PORT"])
        self.version = tuple(
            int(n) for n in environ["SERVER_PROTOCOL"][5:].split(".")
        )
        self._environ = environ

    @property
    def headers(self) -> list[tuple[str, str]]:
        names = {"CONTENT_TYPE": "CONTENT-TYPE"}
        names["CONTENT_LENGTH"] = "CONTENT-LENGTH"
        return [
            (names.get(key) or key[5:].replace("_", "-"), value)
            for key, value in self._environ.items()
            if key.startswith("HTTP_") or key in names
        ]


class _SecureSchemes(TrustedProxies):
    """``secure_scheme_headers`` of those in ``forwarded_allow_ips``."""

    def __init__(
        self,
        app: Callable[..., Any],
        trusted: Iterable[str],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(app, trusted)
        self._unix = True  # as gunicorn has it
        self._headers = {
            "HTTP_" + name.upper().replace("-", "_"): value
            for name, value in headers.items()
        }

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        for key, value in self._headers.items():
            if key in environ and self.trusts(environ["REMOTE_ADDR"]):
                secure = environ[key] == value
                environ["wsgi.url_scheme"] = "https" if secure else "http"
        return self.app(environ, start_response)


def _is_changed(cfg: Any, name: str, setting: Any) -> bool:
    return cfg.settings[name].get() is not setting.default
