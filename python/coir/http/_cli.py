"""``coir serve``: a WSGI application from the command line."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import sys
from typing import Any

from . import _options
from ._listen import Listener, listen, parse_address
from ._options import OPTIONS, Option

__all__ = ["add_parser", "main"]

_log = logging.getLogger("coir.http")

_DESCRIPTION = """\
Serve a WSGI application over HTTP/1.1.

APP is MODULE:NAME, where MODULE is imported from the current directory or as
any other, and NAME is the application in it; MODULE:NAME() if it is what a
function returns. MODULE alone stands for its "application" or "app".

Every option is also a variable of the environment, --idle-timeout for example
COIR_SERVE_IDLE_TIMEOUT, and a key in a TOML file (--config), idle-timeout or
idle_timeout, at its top or in a table [serve]. The command line goes before
the environment, that before the file. Times are in seconds, or end in ms, s,
m, or h; sizes may end in K, M, or G. A limit of 0 is none.
"""

_EPILOG = """\
signals to the parent:
  TERM        stop; requests have --graceful-timeout to end
  INT         stop; requests have 3 seconds
  QUIT        stop at once; so does a second TERM or INT
  HUP         read the configuration again, start new workers, then stop the
              old ones: no request fails
  USR1        open log files anew
  TTIN, TTOU  one worker more, one less

examples:
  coir serve app:app
  coir serve -b :80 -b unix:/run/app.sock -w auto --patch app:create_app()
  coir serve -b :443 --certfile cert.pem --keyfile key.pem app:app
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to those of ``coir``; its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "serve",
        help="serve a WSGI application",
        usage="coir serve [options] APP",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "app", nargs="?", metavar="APP", help="the application"
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", help="a TOML file with options"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="load the application, say whether that works, and exit",
    )
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add_option(groups[option.group], option)
    return parser


def _add_option(group: Any, option: Option) -> None:
    flags = [option.short, option.flag] if option.short else [option.flag]
    text = option.help + _default_text(option)
    text = text.replace("%", "%%")
    if not option.metavar:
        group.add_argument(
            *flags,
            action=argparse.BooleanOptionalAction,
            default=None,
            dest=option.name,
            help=text,
        )
        return

    def parse(value: str) -> Any:
        try:
            return option.of_text(value)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from None

    group.add_argument(
        *flags,
        type=parse,
        action="extend" if option.many else "store",
        default=None,
        dest=option.name,
        metavar=option.metavar,
        help=text,
    )


def _default_text(option: Option) -> str:
    value = option.default
    if value in (None, "", [], False) and value != 0:
        return ""
    if value is True:
        return " (by default)"
    if isinstance(value, list):
        value = " ".join(value)
    if isinstance(value, float):
        value = f"{value:g}"
    if option.group == "limits" and value in (0, "0"):
        value = "none"
    return f" (default: {value})" if value not in (0, "0", False) else ""


# --- settings


class _Settings:
    """What was asked for, and where; read again for a reload."""

    def __init__(self, options: argparse.Namespace) -> None:
        given = {**vars(options)}
        self._config = given.pop("config") or os.environ.get(
            _options.PREFIX + "CONFIG"
        )
        names = {option.name for option in OPTIONS} | {"app"}
        self._given = {
            name: value
            for name, value in given.items()
            if name in names and value is not None
        }

    def read(self) -> dict[str, Any]:
        """
        :raises ValueError: for what makes no sense.
        :raises OSError: if the file cannot be read.
        """
        values = {option.name: option.default for option in OPTIONS}
        values["app"] = None
        if self._config:
            values.update(_options.from_file(self._config))
        values.update(_options.from_environ(os.environ))
        app = os.environ.get(_options.PREFIX + "APP")
        if app:
            values["app"] = app
        values.update(self._given)
        if not values["app"]:
            raise ValueError("which application? say MODULE:NAME")
        for address in values["bind"]:
            parse_address(address)
        if not values["bind"]:
            raise ValueError("there is no address to listen on")
        from ._proxy import TrustedProxies
        from ._worker import make_context

        TrustedProxies(lambda *_: (), values["forwarded_allow_ips"])
        make_context(values)
        _check_rest(values)
        return values


def _check_rest(values: dict[str, Any]) -> None:
    """What would else be found by each worker, or not at all.

    :raises ValueError: for what makes no sense.
    :raises OSError: for a place that is not there.
    """
    from coir._alias import check_name

    for name in (values["as"] or "").replace(",", " ").split():
        check_name(name)
    if not values["certfile"]:
        for name in ("keyfile", "key_password_file", "ca_certs"):
            if values[name]:
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} needs --certfile: without it there "
                                 "is no TLS")
    if values["chdir"] and not os.path.isdir(values["chdir"]):
        raise ValueError(f"--chdir: there is no directory {values['chdir']}")
    if (values["access_log"] or "-") != "-":
        path = os.path.join(values["chdir"] or "", values["access_log"])
        _check_log("access log", path)
    if (values["log"] or "-") != "-":
        _check_log("log", values["log"])


def _check_log(what: str, path: str) -> None:
    if os.path.exists(path) and not os.path.isfile(path):
        return  # a pipe: to open it may wait
    try:
        with open(path, "a"):
            pass
    except OSError as exc:
        raise OSError(
            f"cannot write the {what} {path}: {exc.strerror}"
        ) from None


class _Listeners:
    """The parent's listening sockets, by address; and by worker, if each is
    to have its own."""

    def __init__(self) -> None:
        self._sets: list[dict[str, Listener]] = []
        self._settings: dict[str, Any] = {}

    def update(self, settings: dict[str, Any], count: int) -> None:
        """Have those that are asked for, and no others. Those that are there
        already stay. What cannot be made leaves all as it was."""
        own = settings["reuse_port"] and settings["workers"] > 0
        wanted = max(count, 1) if own else 1
        sets: list[dict[str, Listener]] = []
        made: list[Listener] = []
        try:
            for i in range(wanted):
                old = self._sets[i] if i < len(self._sets) else {}
                new = {}
                for text in dict.fromkeys(settings["bind"]):
                    if sets and parse_address(text)[0] != "tcp":
                        # There is but one of a Unix socket, or of one that
                        # was handed over.
                        new[text] = sets[0][text]
                        continue
                    if text not in old:
                        where = self._where(text, sets)
                        old = {**old, text: self._listen(where, settings)}
                        made.append(old[text])
                    new[text] = old[text]
                sets.append(new)
        except BaseException:
            for listener in made:
                listener.close()
                listener.unlink()
            raise
        kept = {id(item) for one in sets for item in one.values()}
        for one in self._sets:
            for listener in one.values():
                if id(listener) not in kept:
                    listener.close()
                    listener.unlink()
        self._sets = sets
        self._settings = settings

    @staticmethod
    def _where(text: str, sets: list[dict[str, Listener]]) -> Any:
        address = parse_address(text)
        if sets and address[0] == "tcp" and address[2] == 0:
            # All of them have the port that the first one got.
            return address[0], address[1], sets[0][text].name[1]
        return address

    @staticmethod
    def _listen(where: Any, settings: dict[str, Any]) -> Listener:
        return listen(
            where,
            backlog=settings["backlog"],
            reuse_port=settings["reuse_port"],
            unix_mode=settings["unix_mode"],
        )

    def resize(self, count: int) -> None:
        self.update(self._settings, count)

    def sockets(self, place: int) -> list[Any]:
        one = self._sets[place if place < len(self._sets) else 0]
        return [listener.socket for listener in one.values()]

    def describe(self) -> str:
        scheme = "https" if self._settings["certfile"] else "http"
        return ", ".join(
            listener.describe(scheme) for listener in self._sets[0].values()
        )

    def close(self) -> None:
        for one in self._sets:
            for listener in one.values():
                listener.close()
                listener.unlink()


# --- logs


class _Log(logging.Handler):
    """Lines on standard error, or in a file that may be opened anew."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._file: Any = None
        self.setFormatter(
            logging.Formatter(
                "%(asctime)s [%(process)d] %(levelname)s: %(message)s"
            )
        )
        self.reopen()

    def reopen(self) -> None:
        if self._path == "-":
            self._file = sys.stderr
            return
        old = self._file
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        if old is not None:
            old.close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.write(self.format(record) + "\n")
            self._file.flush()
        except Exception:
            self.handleError(record)


def _set_up_log(settings: dict[str, Any]) -> _Log:
    handler = _Log(settings["log"] or "-")
    _log.handlers[:] = [handler]
    _log.propagate = False
    _log.setLevel(settings["log_level"].upper())
    return handler


def _write_pidfile(path: str) -> None:
    """
    :raises OSError: if another process that lives has it.
    """
    try:
        with open(path) as file:
            pid = int(file.read().strip() or 0)
        if pid > 0 and pid != os.getpid():
            os.kill(pid, 0)
            raise OSError(f"process {pid} has the pidfile {path}")
    except (FileNotFoundError, ValueError, ProcessLookupError):
        pass
    except PermissionError:
        raise OSError(f"another process has the pidfile {path}") from None
    new = f"{path}.{os.getpid()}"
    try:
        with open(new, "w") as file:
            file.write(f"{os.getpid()}\n")
        os.rename(new, path)
    except OSError as exc:
        raise OSError(
            f"cannot write the pidfile {path}: {exc.strerror}"
        ) from None
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            try:
                os.unlink(path)
            except OSError:
                pass

    atexit.register(remove)


# --- the command


def main(options: argparse.Namespace) -> int:
    """Do what ``coir serve`` was asked for; the exit status."""
    check = options.check
    del options.check
    source = _Settings(options)
    listeners = _Listeners()
    try:
        settings = source.read()
        if check:
            return _check(settings)
        handler = _set_up_log(settings)
        listeners.update(settings, settings["workers"])
        if settings["pidfile"]:
            _write_pidfile(settings["pidfile"])
    except (ValueError, OSError) as exc:
        listeners.close()
        print(f"coir serve: {exc}", file=sys.stderr)
        return 2
    try:
        if settings["workers"] == 0:
            return _serve_here(settings, listeners)
        return _supervise(source, settings, listeners, handler)
    finally:
        listeners.close()


def _check(settings: dict[str, Any]) -> int:
    from ._supervisor import BOOT_FAILED
    from ._worker import load_in_place, report_failure

    _set_up_log({**settings, "log": "-"})
    try:
        load_in_place(settings)
    except Exception:
        report_failure(settings["app"])
        return BOOT_FAILED
    print(f"{settings['app']}: fine")
    return 0


def _serve_here(settings: dict[str, Any], listeners: _Listeners) -> int:
    from ._worker import run

    _log.info("serving %s at %s", settings["app"], listeners.describe())
    return run(settings, listeners.sockets(0), None)


def _supervise(
    source: _Settings,
    settings: dict[str, Any],
    listeners: _Listeners,
    handler: _Log,
) -> int:
    from ._supervisor import Supervisor
    from ._worker import run

    def work(place: int, line: Any) -> int:
        return run(settings, listeners.sockets(place), line)

    def reload() -> int:
        nonlocal settings
        new = source.read()
        if new["workers"] == 0:
            raise ValueError("cannot change to --workers 0")
        listeners.update(new, max(new["workers"], supervisor.count))
        settings = new
        supervisor.graceful = new["graceful_timeout"]
        supervisor.silence = new["worker_timeout"]
        workers: int = new["workers"]
        return workers

    supervisor = Supervisor(
        settings["workers"],
        work,
        graceful=settings["graceful_timeout"],
        silence=settings["worker_timeout"],
        reload=reload,
        resize=listeners.resize,
        reopen=handler.reopen,
    )
    _log.info(
        "serving %s at %s, %d worker%s",
        settings["app"],
        listeners.describe(),
        supervisor.count,
        "" if supervisor.count == 1 else "s",
    )
    return supervisor.run()
