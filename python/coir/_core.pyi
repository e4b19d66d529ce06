"""The C extension. Private: what it offers is public in ``coir.greenlet``."""

import sys
from collections.abc import Callable
from contextvars import Context
from types import FrameType, TracebackType
from typing import Any, ClassVar, Final, Literal, TypeAlias, overload

from typing_extensions import CapsuleType, disjoint_base

_Trace: TypeAlias = Callable[
    [Literal["switch", "throw"], tuple[greenlet, greenlet]], object
]

class error(Exception): ...
class GreenletExit(BaseException): ...

class UnswitchableGreenlet(greenlet):
    force_switch_error: bool
    force_slp_switch_error: bool

@disjoint_base
class greenlet:
    error: ClassVar[type[error]]
    GreenletExit: ClassVar[type[GreenletExit]]

    run: Callable[..., Any]
    parent: greenlet | None
    gr_context: Context | None

    def __init__(
        self,
        run: Callable[..., Any] | None = ...,
        parent: greenlet | None = ...,
    ) -> None: ...
    def __bool__(self) -> bool: ...
    @property
    def dead(self) -> bool: ...
    @property
    def gr_frame(self) -> FrameType | None: ...
    @property
    def _stack_saved(self) -> int: ...
    def switch(self, *args: Any, **kwargs: Any) -> Any: ...
    @overload
    def throw(
        self,
        typ: type[BaseException] = ...,
        val: BaseException | object = ...,
        tb: TracebackType | None = ...,
        /,
    ) -> Any: ...
    @overload
    def throw(
        self,
        typ: BaseException,
        val: None = ...,
        tb: TracebackType | None = ...,
        /,
    ) -> Any: ...
    @staticmethod
    def getcurrent() -> greenlet: ...
    @staticmethod
    def settrace(callback: _Trace | None, /) -> _Trace | None: ...
    @staticmethod
    def gettrace() -> _Trace | None: ...

def getcurrent() -> greenlet: ...
def settrace(callback: _Trace | None, /) -> _Trace | None: ...
def gettrace() -> _Trace | None: ...

_C_API: Final[CapsuleType]

GREENLET_USE_GC: Final[int]
GREENLET_USE_TRACING: Final[int]
GREENLET_USE_CONTEXT_VARS: Final[int]
GREENLET_USE_STANDARD_THREADING: Final[int]
CLOCKS_PER_SEC: Final[int]

def enable_optional_cleanup(enabled: bool, /) -> None: ...
def get_clocks_used_doing_optional_cleanup() -> int | None: ...
def get_pending_cleanup_count() -> int: ...
def get_total_main_greenlets() -> int: ...

if sys.version_info < (3, 13):
    def get_tstate_trash_delete_nesting() -> int: ...

def set_thread_local(key: object, value: object, /) -> None: ...
def get_stack_size() -> int: ...
def set_stack_size(size: int, /) -> None: ...
def get_stack_policy() -> Literal["dedicated", "slice"]: ...
def set_stack_policy(policy: Literal["dedicated", "slice"], /) -> None: ...
def _info() -> dict[str, str | None]: ...
