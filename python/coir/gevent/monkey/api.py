"""To replace attributes of modules, and to get at what they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Any

from ._errors import _BadImplements
from ._state import _get_original, _save
from ._util import _notify_patch, _queue_warning

_MISSING = object()


def get_original(
    mod_name: str | Sequence[str], item_name: str | Sequence[str]
) -> Any:
    """What an attribute of a module was, or is, if it was not replaced.

    :param mod_name: the module; or several, the first of which that can be
        imported counts.
    :param item_name: the attribute, or several of them.
    :returns: the object, or a list for several.
    """
    names = [mod_name] if isinstance(mod_name, str) else list(mod_name)
    items = [item_name] if isinstance(item_name, str) else list(item_name)
    while True:
        try:
            found = _get_original(names.pop(0), items)
            break
        except ImportError:
            if not names:
                raise
    return found[0] if isinstance(item_name, str) else found


def patch_item(module: Any, attr: str, newitem: Any) -> None:
    """Set an attribute of `module`, and keep what it was."""
    old = getattr(module, attr, _MISSING)
    if old is not _MISSING:
        _save(module, attr, old)
    setattr(module, attr, newitem)


def remove_item(module: Any, attr: str) -> None:
    """Delete an attribute of `module`, if it has it, and keep what it was."""
    old = getattr(module, attr, _MISSING)
    if old is not _MISSING:
        _save(module, attr, old)
        delattr(module, attr)


def patch_module(
    target_module: ModuleType,
    source_module: Any,
    items: Collection[str] | None = None,
    _warnings: list[str] | None = None,
    _patch_kwargs: dict[str, Any] | None = None,
    _notify_will_subscribers: bool = True,
    _notify_did_subscribers: bool = True,
    _call_hooks: bool = True,
) -> bool:
    """Replace attributes of one module by those of another.

    :param target_module: what is patched.
    :param source_module: what has the replacements. It may have functions
        ``_gevent_will_monkey_patch`` and ``_gevent_did_monkey_patch``, called
        with the target, the names, and a function that warns, before and
        after; the first may change the list of names, and may raise
        :exc:`gevent.events.DoNotPatch`.
    :param items: the names; those in ``source_module.__implements__``, if
        they are not given.
    :returns: false if a hook or a subscriber did not want it.
    """
    from .. import events

    if items is None:
        items = getattr(source_module, "__implements__", None)
        if items is None:
            raise _BadImplements(source_module)

    def hook(when: str) -> None:
        func = getattr(source_module, f"_gevent_{when}_monkey_patch", None)
        if _call_hooks and func is not None:
            func(
                target_module,
                items,
                lambda message: _queue_warning(message, _warnings),
            )

    name = target_module.__name__
    try:
        hook("will")
        if _notify_will_subscribers:
            _notify_patch(
                events.GeventWillPatchModuleEvent(
                    name, source_module, target_module, items
                ),
                _warnings,
            )
    except events.DoNotPatch:
        return False

    request = _PatchRequest(target_module, source_module, items, _patch_kwargs)
    do_patch: Callable[[_PatchRequest], object] = getattr(
        source_module,
        "_gevent_do_monkey_patch",
        _PatchRequest.default_patch_items,
    )
    do_patch(request)

    hook("did")
    if _notify_did_subscribers:
        _notify_patch(
            events.GeventDidPatchModuleEvent(
                name, source_module, target_module
            ),
            _warnings,
        )
    return True


class _PatchRequest:
    """What a module that does its own patching is asked for.

    Given to its function ``_gevent_do_monkey_patch``.
    """

    get_original = staticmethod(get_original)

    def __init__(
        self,
        target_module: ModuleType,
        source_module: Any,
        items: Collection[str],
        patch_kwargs: dict[str, Any] | None,
    ) -> None:
        self.target_module = target_module
        self.source_module = source_module
        self.items = items
        self.patch_kwargs = patch_kwargs or {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} target={self.target_module!r} "
            f"source={self.source_module!r} items={self.items!r} "
            f"kwargs={self.patch_kwargs!r}>"
        )

    def default_patch_items(self) -> None:
        """Replace all of `items`."""
        for name in self.items:
            patch_item(
                self.target_module, name, getattr(self.source_module, name)
            )

    def remove_item(self, target_module: Any, *items: str) -> None:
        """Delete attributes of a module, the target if it is not given."""
        if isinstance(target_module, str):
            items = (target_module, *items)
            target_module = self.target_module
        for item in items:
            remove_item(target_module, item)
