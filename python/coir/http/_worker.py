"""A process that serves: loads the application, and does as it is told.

Run by the supervisor in a child, with a line to it, or alone in the process of
``coir serve --workers 0``.
"""

from __future__ import annotations

import ast
import faulthandler
import importlib
import logging
import os
import random
import signal
import socket as _std
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._server import Server

__all__ = [
    "NoApplication",
    "load",
    "load_in_place",
    "make_context",
    "report_failure",
    "run",
]

_log = logging.getLogger("coir.http")

#: Seconds that orders leave to requests; None: ``graceful_timeout``.
_ORDERS = {"g": None, "s": 3.0, "q": 0.0}


class NoApplication(ValueError):
    """There is none of that name: the text says all."""


def load(name: str) -> Callable[..., Any]:
    """Import an application.

    :param name: ``"module:app"``; ``"module:make_app()"``, maybe with literal
        arguments, if it is what a call returns; ``"module"`` if it is called
        ``application`` or ``app``.
    :raises NoApplication: if there is no such module, or no such thing in it.
    """
    module_name, _, rest = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name and f"{module_name}.".startswith(f"{exc.name}."):
            raise NoApplication(
                f"there is no module {exc.name!r} in {os.getcwd()}, nor where "
                "else Python looks"
            ) from None
        raise
    except (TypeError, ValueError) as exc:  # of a name that is none
        if module_name and not module_name.startswith("."):
            raise
        raise NoApplication(str(exc)) from None
    if not rest:
        for guess in "application", "app":
            if hasattr(module, guess):
                return _checked(name, getattr(module, guess))
        raise NoApplication(
            f"{module_name} has neither application nor app: "
            f"say {module_name}:NAME"
        )
    try:
        tree = ast.parse(rest, mode="eval").body
        app = _evaluate(tree, module)
    except (SyntaxError, AttributeError) as exc:
        raise NoApplication(f"no application {name!r}: {exc}") from None
    return _checked(name, app)


def _evaluate(node: ast.expr, module: Any) -> Any:
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_evaluate(node.value, module), node.attr)
    if isinstance(node, ast.Call):
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs = {
            word.arg: ast.literal_eval(word.value)
            for word in node.keywords
            if word.arg
        }
        return _evaluate(node.func, module)(*args, **kwargs)
    raise SyntaxError("expected a name, or a call of one")


def _checked(name: str, app: Any) -> Callable[..., Any]:
    if not callable(app):
        raise NoApplication(f"{name!r} is not callable: {app!r}")
    result: Callable[..., Any] = app
    return result


def make_context(settings: dict[str, Any]) -> Any:
    """The SSLContext that these settings describe; None for plain HTTP.

    :raises OSError: for a file that cannot be read, or is not what it should.
    """
    if not settings["certfile"]:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    versions = {
        "1.2": ssl.TLSVersion.TLSv1_2,
        "1.3": ssl.TLSVersion.TLSv1_3,
    }
    if settings["tls_min"] not in versions:
        raise ValueError(f"--tls-min is 1.2 or 1.3, not {settings['tls_min']}")
    context.minimum_version = versions[settings["tls_min"]]
    password = None
    if settings["key_password_file"]:
        with open(settings["key_password_file"]) as file:
            password = file.readline().rstrip("\n")
    try:
        context.load_cert_chain(
            settings["certfile"],
            settings["keyfile"] or None,
            password if password is not None else "",
        )
    except OSError as exc:
        hint = ""
        if isinstance(exc, ssl.SSLError) and not settings["keyfile"]:
            hint = ": is its key in it? --keyfile names another file"
        raise OSError(
            f"cannot use the certificate {settings['certfile']}: {exc}{hint}"
        ) from None
    if settings["ca_certs"]:
        try:
            context.load_verify_locations(settings["ca_certs"])
        except OSError as exc:
            raise OSError(
                f"cannot use the certificates {settings['ca_certs']}: {exc}"
            ) from None
        context.verify_mode = (
            ssl.CERT_OPTIONAL
            if settings["client_optional"]
            else ssl.CERT_REQUIRED
        )
    if settings["ciphers"]:
        try:
            context.set_ciphers(settings["ciphers"])
        except ssl.SSLError as exc:
            raise ValueError(
                f"--ciphers {settings['ciphers']}: {exc}"
            ) from None
    if settings["alpn"]:
        context.set_alpn_protocols(settings["alpn"])
    return context


def load_in_place(settings: dict[str, Any]) -> Callable[..., Any]:
    """Load the application, in the environment it is to have."""
    if settings["as"]:
        import coir

        names = settings["as"].replace(",", " ").split()
        coir.install_as(*names)
    if settings["patch"]:
        from coir.gevent import monkey

        monkey.patch_all()
    if settings["chdir"]:
        os.chdir(settings["chdir"])
    sys.path.insert(0, os.getcwd())
    return load(settings["app"])


def report_failure(name: str) -> None:
    """Log why the application cannot be loaded: the exception at hand, from
    the application's code on."""
    exc = sys.exception()
    if isinstance(exc, NoApplication):
        _log.critical("cannot load the application %r: %s", name, exc)
        return
    assert exc is not None
    tb = exc.__traceback__
    ours = (
        os.path.dirname(__file__),
        os.path.dirname(importlib.__file__),
        "<frozen importlib",
    )
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(ours):
        tb = tb.tb_next
    _log.critical(
        "cannot load the application %r", name, exc_info=exc.with_traceback(tb)
    )


def _make_server(settings: dict[str, Any], sockets: list[Any]) -> Server:
    app = load_in_place(settings)

    from ._options import LIMITS
    from ._server import Server

    return Server(
        app,
        sockets=sockets,
        ssl_context=make_context(settings),
        access_log=settings["access_log"] or None,
        access_log_format=settings["access_log_format"],
        script_name=settings["script_name"],
        trusted_proxies=settings["forwarded_allow_ips"],
        multiprocess=settings["workers"] > 1,
        **{option.name: settings[option.name] for option in LIMITS},
    )


class _Worker:
    """Serves until it is told to stop."""

    def __init__(
        self, settings: dict[str, Any], server: Server, line: Any
    ) -> None:
        self.settings = settings
        self.server = server
        self.line = line
        self._stops = False
        self._most = settings["max_requests"]
        if self._most:
            self._most += random.randint(0, settings["max_requests_jitter"])

    def obey(self, order: str) -> None:
        """Do what the supervisor, or a signal, asks for. In the hub."""
        if order == "l":
            self.server.reopen_log()
        elif order in _ORDERS:
            if self._stops and self.line is None:
                order = "q"  # somebody insists
            self._stops = True
            graceful = self.server.limits["graceful_timeout"] or None
            seconds = _ORDERS[order]
            if seconds is None or (graceful or seconds) < seconds:
                seconds = graceful
            self.server._core.stop(seconds, 1.0 if seconds != 0 else 0.2)

    def watch_signals(self, orders: dict[int, str]) -> None:
        run = self.server.hub.loop.run_callback
        for number, order in orders.items():
            signal.signal(
                number, lambda *_, order=order: run(self.obey, order)
            )

    def listen_to_parent(self) -> None:
        while True:
            try:
                orders = self.line.recv(100)
            except OSError:
                orders = b""
            for order in orders.decode("ascii", "replace"):
                self.obey(order)
            if not orders:  # the parent is gone
                self.obey("g")
                return

    def tell_parent(self) -> None:
        """Once in a while, that this lives, or wants to be replaced."""
        from coir.gevent import sleep

        limit = self.settings["worker_timeout"]
        while True:
            sleep(min(1.0, limit / 4) if limit else 1.0)
            word = b"b"
            if self._most:
                done = self.server.counters()["requests"]
                if done >= self._most:
                    self._most = done + self.settings["max_requests"]
                    word += b"x"
            try:
                self.line.sendall(word)
            except OSError:
                return

    def run(self) -> int:
        from coir.gevent import spawn

        self.server.start()
        jobs = []
        if self.line is not None:
            jobs.append(spawn(self.listen_to_parent))
            jobs.append(spawn(self.tell_parent))
            self.line.sendall(b"r")
        self.server.join()
        self.server.close()
        for job in jobs:
            job.kill(block=False)
        return 0


def run(
    settings: dict[str, Any], sockets: list[Any], line: _std.socket | None
) -> int:
    """Serve on these sockets; the exit status of the process.

    :param line: to the supervisor; None if there is none.
    """
    if not faulthandler.is_enabled():
        faulthandler.enable()  # where it was stuck, if it is killed for that
    try:
        server = _make_server(settings, sockets)
    except Exception:
        report_failure(settings["app"])
        from ._supervisor import BOOT_FAILED

        return BOOT_FAILED
    green_line = None
    if line is not None:
        from coir.gevent import socket

        green_line = socket.socket(
            _std.AF_UNIX, _std.SOCK_STREAM, fileno=line.detach()
        )
    worker = _Worker(settings, server, green_line)
    if line is None:
        worker.watch_signals(
            {
                signal.SIGTERM: "g",
                signal.SIGINT: "s",
                signal.SIGQUIT: "q",
                signal.SIGUSR1: "l",
            }
        )
    else:
        worker.watch_signals({signal.SIGTERM: "g", signal.SIGQUIT: "q"})
    return worker.run()
