"""What happens in the hub and while modules are patched, told as objects.

An event is given to each callable in :data:`subscribers`, and then, if its
class has an ``ENTRY_POINT_NAME``, to the entry points of that group of all
installed distributions. With :mod:`zope.event` installed, `subscribers` and
`notify` are its own; with :mod:`zope.interface`, the interfaces here are real
ones and the classes say that they implement them. Neither is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = [
    "subscribers",
    "IEventLoopBlocked",
    "EventLoopBlocked",
    "IMemoryUsageThresholdExceeded",
    "MemoryUsageThresholdExceeded",
    "IMemoryUsageUnderThreshold",
    "MemoryUsageUnderThreshold",
    "IPeriodicMonitorThread",
    "IPeriodicMonitorThreadStartedEvent",
    "PeriodicMonitorThreadStartedEvent",
    "IGeventPatchEvent",
    "GeventPatchEvent",
    "IGeventWillPatchEvent",
    "DoNotPatch",
    "GeventWillPatchEvent",
    "IGeventDidPatchEvent",
    "IGeventWillPatchModuleEvent",
    "GeventWillPatchModuleEvent",
    "IGeventDidPatchModuleEvent",
    "GeventDidPatchModuleEvent",
    "IGeventWillPatchAllEvent",
    "GeventWillPatchAllEvent",
    "IGeventDidPatchBuiltinModulesEvent",
    "GeventDidPatchBuiltinModulesEvent",
    "IGeventDidPatchAllEvent",
    "GeventDidPatchAllEvent",
]

if TYPE_CHECKING:

    class Interface: ...

    Attribute: Any
    subscribers: list[Callable[[Any], object]]

    def implementer(
        *interfaces: type,
    ) -> Callable[[type[Any]], Any]: ...

    def notify(event: object) -> None: ...

else:
    try:
        from zope.interface import Attribute, Interface, implementer
    except ImportError:

        class Interface:
            """Stands in for that of zope.interface."""

            @classmethod
            def providedBy(cls, obj):
                """Whether the class of `obj` says so."""
                return any(
                    issubclass(interface, cls)
                    for base in type(obj).__mro__
                    for interface in vars(base).get("_implements", ())
                )

        def Attribute(doc=""):
            """An attribute that an interface asks for."""
            return property(doc=doc)

        def implementer(*interfaces):
            """The class decorated answers to `interfaces`; not checked."""

            def implements(cls):
                cls._implements = interfaces
                return cls

            return implements

    try:
        from zope.event import notify, subscribers
    except ImportError:
        subscribers = []

        def notify(event):
            """Give `event` to each subscriber, in order."""
            for subscriber in subscribers:
                subscriber(event)


def _entry_points(group: str) -> Any:
    # Reading those of all distributions takes long, and patch_all() asks some
    # forty times: they are read again only if sys.path has changed.
    import sys
    from importlib import metadata

    global _known
    path = tuple(sys.path)
    if _known is None or _known[0] != path:
        _known = path, metadata.entry_points()
    return _known[1].select(group=group)


_known: tuple[tuple[str, ...], Any] | None = None


def notify_and_call_entry_points(event: Any) -> None:
    """Give `event` to the subscribers, then to the plugins of its group."""
    notify(event)
    for entry_point in _entry_points(event.ENTRY_POINT_NAME):
        # What gevent itself has there, if it is installed, is for itself.
        if entry_point.module.partition(".")[0] != "gevent":
            entry_point.load()(event)


# mypy: disable-error-code="no-untyped-def"
# In interfaces, methods have no `self`.


class IPeriodicMonitorThread(Interface):
    """The thread that looks after a hub."""

    def add_monitoring_function(function, period):  # noqa: N805
        """Call `function(hub)` every `period` seconds, about.

        It is called in the monitoring thread and must not wait for anything
        of the hub's. Given again, its period is changed; None takes it out.
        A period of 0 or less is a ValueError.
        """


class IPeriodicMonitorThreadStartedEvent(Interface):
    """A hub has started its monitoring thread."""

    monitor = Attribute("The IPeriodicMonitorThread.")


@implementer(IPeriodicMonitorThreadStartedEvent)
class PeriodicMonitorThreadStartedEvent:
    """A hub has started its monitoring thread, `monitor`.

    The time to add functions to it.
    """

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.hub.periodic_monitor_thread_started"

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor


class IEventLoopBlocked(Interface):
    """A greenlet has not let others run for long; told in the monitor."""

    greenlet = Attribute("The one that seems to be the cause.")
    blocking_time = Attribute("For how many seconds, about.")
    info = Attribute("A list of lines of text; may be changed.")
    hub = Attribute("The hub that is kept from running, or None.")


@implementer(IEventLoopBlocked)
class EventLoopBlocked:
    """`greenlet` has kept its hub from running for `blocking_time` seconds."""

    def __init__(
        self,
        greenlet: Any,
        blocking_time: float,
        info: list[str],
        *,
        hub: Any = None,
    ) -> None:
        self.greenlet = greenlet
        self.blocking_time = blocking_time
        self.info = info
        self.hub = hub


class IMemoryUsageThresholdExceeded(Interface):
    """The process has more memory than it should, and still grows.

    Told in the monitoring thread.
    """

    mem_usage = Attribute("Bytes in use.")
    max_allowed = Attribute("Bytes allowed.")
    memory_info = Attribute("What psutil says.")


class _MemoryEvent:
    def __init__(
        self, mem_usage: int, max_allowed: int, memory_info: Any
    ) -> None:
        self.mem_usage = mem_usage
        self.max_allowed = max_allowed
        self.memory_info = memory_info

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} used={self.mem_usage} "
            f"max={self.max_allowed} details={self.memory_info!r}>"
        )


@implementer(IMemoryUsageThresholdExceeded)
class MemoryUsageThresholdExceeded(_MemoryEvent):
    """The process uses more than it is allowed, and more than before."""


class IMemoryUsageUnderThreshold(Interface):
    """The process has come down to what it may have.

    Told in the monitoring thread, once for each time that it had been above.
    """

    mem_usage = Attribute("Bytes in use.")
    max_allowed = Attribute("Bytes allowed.")
    max_memory_usage = Attribute("Bytes that were in use when told of before.")
    memory_info = Attribute("What psutil says.")


@implementer(IMemoryUsageUnderThreshold)
class MemoryUsageUnderThreshold(_MemoryEvent):
    """The process had used more than it is allowed, and does not now."""

    def __init__(
        self,
        mem_usage: int,
        max_allowed: int,
        memory_info: Any,
        max_usage: int,
    ) -> None:
        super().__init__(mem_usage, max_allowed, memory_info)
        self.max_memory_usage = max_usage


class IGeventPatchEvent(Interface):
    """Something about patching."""

    source = Attribute("Where the replacements come from.")
    target = Attribute("What is patched.")


@implementer(IGeventPatchEvent)
class GeventPatchEvent:
    """`target` is patched with what `source` has."""

    def __init__(self, source: Any, target: Any) -> None:
        self.source = source
        self.target = target

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} source={self.source!r} "
            f"target={self.target!r} at {id(self):x}>"
        )


class IGeventWillPatchEvent(IGeventPatchEvent):
    """Something is about to be patched.

    It is left alone if a subscriber raises :exc:`DoNotPatch`.
    """


class DoNotPatch(BaseException):
    """Raised by a subscriber: this one is not to be patched."""


@implementer(IGeventWillPatchEvent)
class GeventWillPatchEvent(GeventPatchEvent):
    """Something is about to be patched."""


class IGeventDidPatchEvent(IGeventPatchEvent):
    """Something has been patched."""


@implementer(IGeventDidPatchEvent)
class GeventDidPatchEvent(GeventPatchEvent):
    """Something has been patched."""


class IGeventWillPatchModuleEvent(IGeventWillPatchEvent):
    """A module is about to be patched; `source` is a module, too."""

    module_name = Attribute("Its name: ``target.__name__``.")
    target_item_names = Attribute("Names to be replaced; may be changed.")


@implementer(IGeventWillPatchModuleEvent)
class GeventWillPatchModuleEvent(GeventWillPatchEvent):
    """The module `target` is about to be patched."""

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_module"

    def __init__(
        self, module_name: str, source: Any, target: Any, items: Any
    ) -> None:
        super().__init__(source, target)
        self.module_name = module_name
        self.target_item_names = items


class IGeventDidPatchModuleEvent(IGeventDidPatchEvent):
    """A module has been patched."""

    module_name = Attribute("Its name: ``target.__name__``.")


@implementer(IGeventDidPatchModuleEvent)
class GeventDidPatchModuleEvent(GeventDidPatchEvent):
    """The module `target` has been patched."""

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_module"

    def __init__(self, module_name: str, source: Any, target: Any) -> None:
        super().__init__(source, target)
        self.module_name = module_name


class IGeventWillPatchAllEvent(IGeventWillPatchEvent):
    """``patch_all()`` begins.

    An event for each module follows, then
    :class:`IGeventDidPatchBuiltinModulesEvent` and
    :class:`IGeventDidPatchAllEvent`. Nothing is patched if a subscriber
    raises :exc:`DoNotPatch`. `source` and `target` mean nothing.
    """

    patch_all_arguments = Attribute("What it was called with; a copy.")
    patch_all_kwargs = Attribute("What it does not know of that; a copy.")

    def will_patch_module(module_name):  # noqa: N805
        """Whether the module of that name is to be patched."""


class _PatchAllEvent:
    def __init__(
        self,
        patch_all_arguments: dict[str, Any],
        patch_all_kwargs: dict[str, Any],
    ) -> None:
        self.source = self.target = None
        self._patch_all_arguments = patch_all_arguments
        self._patch_all_kwargs = patch_all_kwargs

    @property
    def patch_all_arguments(self) -> dict[str, Any]:
        """What ``patch_all()`` was called with; a copy."""
        return self._patch_all_arguments.copy()

    @property
    def patch_all_kwargs(self) -> dict[str, Any]:
        """What of that it does not know itself; a copy."""
        return self._patch_all_kwargs.copy()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._patch_all_arguments!r} "
            f"at {id(self):x}>"
        )


@implementer(IGeventWillPatchAllEvent)
class GeventWillPatchAllEvent(_PatchAllEvent, GeventWillPatchEvent):
    """``patch_all()`` begins."""

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.will_patch_all"

    def will_patch_module(self, module_name: str) -> Any:
        """Whether the module of that name is to be patched."""
        return self._patch_all_arguments.get(module_name)


class IGeventDidPatchBuiltinModulesEvent(IGeventDidPatchEvent):
    """The standard library is patched: the time to patch other packages.

    `source` and `target` mean nothing.
    """

    patch_all_arguments = Attribute("As of IGeventWillPatchAllEvent.")
    patch_all_kwargs = Attribute("As of IGeventWillPatchAllEvent.")


@implementer(IGeventDidPatchBuiltinModulesEvent)
class GeventDidPatchBuiltinModulesEvent(_PatchAllEvent, GeventDidPatchEvent):
    """The standard library is patched."""

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_builtins"


class IGeventDidPatchAllEvent(IGeventDidPatchEvent):
    """``patch_all()`` is done, and what subscribers do then, too.

    `source` and `target` mean nothing.
    """


@implementer(IGeventDidPatchAllEvent)
class GeventDidPatchAllEvent(_PatchAllEvent, GeventDidPatchEvent):
    """``patch_all()`` is done."""

    #: Group of entry points that are called with it.
    ENTRY_POINT_NAME = "gevent.plugins.monkey.did_patch_all"
