"""Settings: ``from gevent import config``.

Each is read from its environment variable, or else has a default, when it is
first asked for; from then on it stays as it is, unless it is set. What is set
is validated at once. A setting must be made before what it is for is used: the
hub, for most of them. ``python -m coir.gevent._config`` tells of all of them.

All of gevent's settings are here. Where there is no choice to be made, its
values are accepted and lead to the one thing there is; the text of the setting
says so.
"""

from __future__ import annotations

import importlib
import os
import textwrap
from collections.abc import Callable
from typing import Any

from coir._core import set_copy_context, set_track_greenlet_tree

__all__ = ["config"]

#: The classes of all settings, in order.
ALL_SETTINGS: list[type[Setting]] = []


def validate_invalid(value: Any) -> Any:
    """No value is good."""
    raise ValueError(f"Not a valid value: {value!r}")


def validate_bool(value: Any) -> bool:
    """A boolean; as text one of 1 true on yes, 0 false off no, or empty."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("1", "true", "on", "yes"):
            return True
        if text in ("0", "false", "off", "no", ""):
            return False
        raise ValueError(f"Invalid boolean string: {value!r}")
    return bool(value)


def validate_anything(value: Any) -> Any:
    """Every value is good."""
    return value


convert_str_value_as_is = validate_anything


class Setting:
    """One setting; subclasses are registered, see :data:`ALL_SETTINGS`.

    `value` is there only once it was read or set.
    """

    name: str = ""
    environment_key: str = ""
    default: Any = None
    document = True
    desc = ""

    value: Any
    validate: Callable[..., Any] = staticmethod(validate_invalid)

    def __init_subclass__(cls) -> None:
        cls.name = vars(cls).get("name") or cls.__name__.lower()
        if "environment_key" not in vars(cls):
            cls.environment_key = f"GEVENT_{cls.name.upper()}"
        cls.__doc__ = cls._describe()
        ALL_SETTINGS.append(cls)

    @classmethod
    def _describe(cls) -> str:
        parts = [textwrap.dedent(cls.desc).strip()]
        names = getattr(cls, "shortname_map", None)
        if names is not None:
            parts.append(
                "In code this may be the object itself. As text it is the "
                "dotted name of one, or several such names; the first that "
                "can be imported counts."
            )
            if names:
                parts.append("Short names: " + ", ".join(names) + ".")
        parts.append(
            f"Environment variable: {cls.environment_key}. "
            f"Default: {cls.default!r}."
        )
        return "\n\n".join(part for part in parts if part)

    def _convert(self, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    def get(self) -> Any:
        """The value; read, if it was not yet, from the environment."""
        if "value" not in self.__dict__:
            text = os.environ.get(self.environment_key)
            try:
                self.value = self.validate(
                    self._convert(self.default if text is None else text)
                )
            except ValueError as exc:
                if text is None:
                    raise
                raise ValueError(
                    f"in the environment, {self.environment_key}={text!r}: "
                    f"{exc}"
                ) from exc
        return self.value

    def set(self, val: Any) -> None:
        """Set it; ValueError or ImportError if it is not valid."""
        self.value = self.validate(self._convert(val))


def make_settings() -> dict[str, Setting]:
    """New objects of all settings, by name."""
    return {cls.name: cls() for cls in ALL_SETTINGS}


class Config:
    """All settings, as attributes; the one in use is ``gevent.config``.

    >>> from gevent._config import Config
    >>> config = Config()
    >>> config.monitor_thread = "yes"
    >>> config.monitor_thread
    True
    >>> config.set("max_memory_usage", "100MB")
    >>> config.max_memory_usage
    104857600
    >>> config.no_such_setting
    Traceback (most recent call last):
    ...
    AttributeError: No configuration setting for: 'no_such_setting'
    """

    settings: dict[str, Setting]

    def __init__(self) -> None:
        self.settings = make_settings()

    def __getattr__(self, name: str) -> Any:
        return self._setting(name).get()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "settings" or name not in self.settings:
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def _setting(self, name: str) -> Setting:
        # Not by self.settings: that may be what is missing, while unpickling.
        try:
            setting: Setting = self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(
                f"No configuration setting for: {name!r}"
            ) from None
        return setting

    def set(self, name: str, value: Any) -> None:
        """Set the setting `name`; AttributeError if there is none."""
        self._setting(name).set(value)

    def __dir__(self) -> list[str]:
        return list(self.settings)

    def print_help(self) -> None:
        """Print name and text of each setting."""
        for name, setting in self.settings.items():
            print(name)
            print(textwrap.indent(type(setting).__doc__ or "", "    "))
            print()


class ImportableSetting:
    """For a setting that is an object somewhere."""

    #: Short names for dotted ones.
    shortname_map: dict[str, str] = {}

    def _import_one_of(self, candidates: list[Any]) -> Any:
        error = ImportError("Cannot import from empty list")
        for candidate in candidates:
            try:
                return self._import_one(candidate)
            except ImportError as exc:
                error = exc
        raise error

    def _import_one(self, path: Any) -> Any:
        if not isinstance(path, str):
            return path
        module, _, item = path.rpartition(".")
        if not module or "/" in path:
            raise ImportError(
                f"Cannot import {path!r}. Required format: "
                f"[package.]module.class. Or choose from "
                f"{list(self.shortname_map)!r}"
            )
        if module.partition(".")[0] == "gevent":
            # Ours, whichever name this package has.
            module = f"{__package__}{module.removeprefix('gevent')}"
        try:
            return getattr(importlib.import_module(module), item)
        except AttributeError:
            raise ImportError(
                f"Cannot import {item!r} from {module!r}"
            ) from None

    def validate(self, value: Any) -> Any:
        """What `value` names; `value` itself, if it is no name."""
        if isinstance(value, list):
            names = self.shortname_map
            return self._import_one_of(
                [names.get(v, v) if isinstance(v, str) else v for v in value]
            )
        return value

    def get_options(self) -> dict[str, Any]:
        """By short name what is to be had, or why it is not."""
        options: dict[str, Any] = {}
        for name, path in self.shortname_map.items():
            try:
                options[name] = self._import_one(path)
            except ImportError as exc:
                options[name] = exc
        return options


class BoolSettingMixin:
    """For a boolean."""

    validate = staticmethod(validate_bool)
    _convert = staticmethod(convert_str_value_as_is)


class IntSettingMixin:
    """For a whole number, or None."""

    validate = staticmethod(validate_anything)

    def _convert(self, value: Any) -> int | None:
        return int(value) if value else None


class _PositiveValueMixin:
    def validate(self, value: Any) -> Any:
        if value is not None and value <= 0:
            raise ValueError("Must be positive")
        return value


class FloatSettingMixin(_PositiveValueMixin):
    """For a number above zero, or None."""

    def _convert(self, value: Any) -> float | None:
        return float(value) if value else None


class ByteCountSettingMixin(_PositiveValueMixin):
    """For a number of bytes, in text with kb, mb or gb, or None."""

    _UNITS = {"kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}

    def _convert(self, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return value or None
        text = value.strip().lower()
        unit = self._UNITS.get(text[-2:])
        return int(text) if unit is None else int(text[:-2]) * unit


class Resolver(ImportableSetting, Setting):
    desc = """\
    What looks up host names: called with the hub, it gives ``hub.resolver``.
    """
    default = ["thread", "dnspython", "ares", "block"]
    shortname_map = {
        "ares": "gevent.resolver.ares.Resolver",
        "thread": "gevent.resolver.thread.Resolver",
        "block": "gevent.resolver.blocking.Resolver",
        "dnspython": "gevent.resolver.dnspython.Resolver",
    }


class Threadpool(ImportableSetting, Setting):
    desc = """\
    The class of ``hub.threadpool``.
    """
    default = "gevent.threadpool.ThreadPool"


class ThreadpoolIdleTaskTimeout(FloatSettingMixin, Setting):
    name = "threadpool_idle_task_timeout"
    desc = """\
    Seconds after which a thread of the hub's pool ends that has nothing to
    do; -1 for never.
    """
    default = 5.0

    def validate(self, value: Any) -> Any:
        return value if value == -1 else super().validate(value)


class Loop(ImportableSetting, Setting):
    desc = """\
    The class of the hub's loop. There is one, Coir's: the names of gevent's
    loops are accepted and all give it. For the kernel's interface that it
    uses, see libev_backend.
    """
    default = ["coir"]
    shortname_map = dict.fromkeys(
        (
            "coir",
            "libev-cext",
            "libev-cffi",
            "libuv-cffi",
            "libuv",
            "gevent.libev.corecext.loop",
            "gevent.libev.corecffi.loop",
            "gevent.libuv.loop.loop",
        ),
        "gevent.core.loop",
    )


class FormatContext(ImportableSetting, Setting):
    name = "format_context"
    desc = """\
    What makes text of the context of an error for the hub's report.
    """
    # Not pformat, which goes past the __repr__ of subclasses of containers,
    # and so shows what they hide.
    default = "pprint.saferepr"


class LibevBackend(Setting):
    name = "libev_backend"
    environment_key = "GEVENT_BACKEND"
    desc = """\
    What the loop waits with: epoll, io_uring, poll or select; several names
    in order of preference. None leaves it to Coir.
    """
    validate = staticmethod(validate_anything)


class FileObject(ImportableSetting, Setting):
    desc = """\
    The class that :mod:`gevent.fileobject` gives as ``FileObject``.
    """
    environment_key = "GEVENT_FILE"
    default = ["posix", "thread"]
    shortname_map = {
        "thread": "gevent.fileobject.FileObjectThread",
        "posix": "gevent.fileobject.FileObjectPosix",
        "block": "gevent.fileobject.FileObjectBlock",
    }


class WatchChildren(BoolSettingMixin, Setting):
    name = "disable_watch_children"
    environment_key = "GEVENT_NOWAITPID"
    desc = """\
    True: :func:`gevent.os.fork` does not watch the child, and patching leaves
    ``os.waitpid`` alone.
    """
    default = False


class TraceMalloc(IntSettingMixin, Setting):
    name = "trace_malloc"
    environment_key = "PYTHONTRACEMALLOC"
    desc = """\
    As Python's own variable. Without effect on Coir, which has no objects
    whose allocation Python does not see.
    """
    default = False


class TrackGreenletTree(BoolSettingMixin, Setting):
    name = "track_greenlet_tree"
    desc = """\
    Whether a greenlet knows which one spawned it, and from where. Without it
    spawning is faster, and ``spawning_greenlet``, ``spawn_tree_locals`` and
    ``spawning_stack`` are empty.
    """
    default = True

    def set(self, val: Any) -> None:
        super().set(val)
        set_track_greenlet_tree(self.value)


class CopyContext(BoolSettingMixin, Setting):
    name = "copy_context"
    environment_key = "COIR_COPY_CONTEXT"
    desc = """\
    Whether a Greenlet begins with a copy of the context variables of its
    spawner, as an asyncio task does. In gevent, and by default, it begins
    with none.
    """
    default = False

    def set(self, val: Any) -> None:
        super().set(val)
        set_copy_context(self.value)


class MonitorThread(BoolSettingMixin, Setting):
    name = "monitor_thread"
    environment_key = "GEVENT_MONITOR_THREAD_ENABLE"
    desc = """\
    Whether each hub, once it is first switched to, has a thread that looks
    whether it is kept from running for longer than max_blocking_time, and
    reports it. ``hub.start_periodic_monitoring_thread()`` starts one at any
    time.
    """
    default = False


class MaxBlockingTime(FloatSettingMixin, Setting):
    name = "max_blocking_time"
    desc = """\
    How long, in seconds, about, a greenlet may keep its hub from running
    before the monitor thread reports it.
    """
    default = 0.1


class PrintBlockingReports(BoolSettingMixin, Setting):
    name = "print_blocking_reports"
    environment_key = "GEVENT_MONITOR_PRINT_BLOCKING_REPORTS"
    desc = """\
    Whether the monitor thread prints its reports; events are sent anyway.
    """
    default = True


class MonitorMemoryPeriod(FloatSettingMixin, Setting):
    name = "memory_monitor_period"
    environment_key = "GEVENT_MONITOR_MEMORY_PERIOD"
    desc = """\
    Every how many seconds, about, the monitor thread looks how much memory
    the process uses.
    """
    default = 5


class MonitorMemoryMaxUsage(ByteCountSettingMixin, Setting):
    name = "max_memory_usage"
    environment_key = "GEVENT_MONITOR_MEMORY_MAX"
    desc = """\
    With how many bytes of memory in use the monitor thread sends events, see
    :mod:`gevent.events`; in text also with kb, mb or gb. None for never.
    """


class AresSettingMixin:
    """For an argument of the resolvers, which validate it."""

    document = False
    name: str
    validate = staticmethod(validate_anything)
    _convert = staticmethod(convert_str_value_as_is)

    @property
    def kwarg_name(self) -> str:
        """The name of the argument."""
        return self.name.removeprefix("ares_")


class AresFlags(AresSettingMixin, Setting):
    name = "ares_flags"
    environment_key = "GEVENTARES_FLAGS"


class AresTimeout(AresSettingMixin, Setting):
    document = True
    name = "ares_timeout"
    environment_key = "GEVENTARES_TIMEOUT"
    desc = """\
    Outdated: set resolver_timeout, and not both.
    """


class AresTries(AresSettingMixin, Setting):
    name = "ares_tries"
    environment_key = "GEVENTARES_TRIES"


class AresNdots(AresSettingMixin, Setting):
    name = "ares_ndots"
    environment_key = "GEVENTARES_NDOTS"


class AresUDPPort(AresSettingMixin, Setting):
    name = "ares_udp_port"
    environment_key = "GEVENTARES_UDP_PORT"


class AresTCPPort(AresSettingMixin, Setting):
    name = "ares_tcp_port"
    environment_key = "GEVENTARES_TCP_PORT"


class AresServers(AresSettingMixin, Setting):
    document = True
    name = "ares_servers"
    environment_key = "GEVENTARES_SERVERS"
    desc = """\
    Outdated: set resolver_nameservers, and not both.
    """


class ResolverNameservers(AresSettingMixin, Setting):
    document = True
    name = "resolver_nameservers"
    environment_key = "GEVENT_RESOLVER_NAMESERVERS"
    desc = """\
    Addresses of the name servers that the ares and the dnspython resolver
    ask, in place of the system's; the other resolvers ask the system. In text
    with commas between them.
    """
    _convert = Setting._convert

    @property
    def kwarg_name(self) -> str:
        return "servers"


class ResolverTimeout(FloatSettingMixin, AresSettingMixin, Setting):
    document = True
    name = "resolver_timeout"
    environment_key = "GEVENT_RESOLVER_TIMEOUT"
    desc = """\
    Seconds that the ares and the dnspython resolver spend on one name.
    """

    @property
    def kwarg_name(self) -> str:
        return "timeout"


def _add_properties() -> None:
    # For help(): __getattr__ alone would do.
    for cls in ALL_SETTINGS:
        if cls.document:

            def read(self: Config, name: str = cls.name) -> Any:
                return self.settings[name].get()

            setattr(Config, cls.name, property(read, doc=cls.__doc__))


_add_properties()

config = Config()

if __name__ == "__main__":
    config.print_help()
