"""Trace functions that tell whether greenlets have blocked the hub.

Each is the trace function of the thread that made it until `kill`, and calls
the one that was there before. The monitor thread asks ``did_block_hub()`` at
intervals; ``gevent.util.assert_switches`` once.
"""

from __future__ import annotations

import sys
import traceback
from time import perf_counter
from typing import Any

from coir._core import SwitchTracer, getcurrent

from ._util import gmctime
from .util import format_run_info

__all__ = ["GreenletTracer", "HubSwitchTracer", "MaxSwitchTracer"]


class GreenletTracer(SwitchTracer):
    """Blocked is who has run without a switch since the last look."""

    def did_block_hub(self, hub: Any) -> Any:
        """``(True, greenlet)`` if that one blocks `hub`, else a false value.

        From any thread; a switch at the same moment may be missed.
        """
        active = self.active_greenlet
        switches, self.greenlet_switch_counter = (
            self.greenlet_switch_counter,
            0,
        )
        if switches or active is None or active is hub:
            return False
        return True, active

    def ignore_current_greenlet_blocking(self) -> None:
        """Do not blame the running greenlet until the next switch."""
        self.active_greenlet = None

    def monitor_current_greenlet_blocking(self) -> None:
        """Do, even if no switch to it was seen."""
        self.active_greenlet = getcurrent()

    def did_block_hub_report(
        self, hub: Any, active_greenlet: Any, format_kwargs: dict[str, Any]
    ) -> list[str]:
        """Lines that tell who blocks `hub`, and where."""
        ident = hub.thread_ident
        frame = sys._current_frames().get(ident)
        if frame is None:
            stack = f"Unknown: No thread found for hub {hub!r}\n"
        else:
            stack = "".join(traceback.format_stack(frame))
        return [
            "=" * 80,
            f"\n{gmctime()} : Greenlet {active_greenlet} appears to be "
            "blocked",
            f"    Reported by {self}",
            f"Blocked Stack (for thread id {ident:#x}):",
            stack,
            "Info:",
            *format_run_info(**format_kwargs),
        ]


class _HubTracer(GreenletTracer):
    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        self.hub = hub
        self.max_blocking_time = max_blocking_time
        super().__init__()

    def kill(self) -> None:
        self.hub = None
        super().kill()


class HubSwitchTracer(_HubTracer):
    """Blocked is who has kept the hub from running for too long."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        self.last_entered_hub: float = 0
        super().__init__(hub, max_blocking_time)

    def __call__(self, event: str, args: Any) -> None:
        super().__call__(event, args)
        if self.active_greenlet is self.hub:
            self.last_entered_hub = perf_counter()

    def did_block_hub(self, hub: Any) -> Any:
        if perf_counter() - self.last_entered_hub > self.max_blocking_time:
            return True, self.active_greenlet
        return False


class MaxSwitchTracer(_HubTracer):
    """Blocked is whoever but the hub has run for too long at a time."""

    def __init__(self, hub: Any, max_blocking_time: float) -> None:
        self.max_blocking: float = 0
        self.last_switch = perf_counter()
        super().__init__(hub, max_blocking_time)

    def __call__(self, event: str, args: Any) -> None:
        before = self.active_greenlet
        super().__call__(event, args)
        now = perf_counter()
        if before is not None and before is not self.hub:
            self.max_blocking = max(self.max_blocking, now - self.last_switch)
        self.last_switch = now

    def did_block_hub(self, hub: Any) -> Any:
        if self.max_blocking == 0:  # it still runs
            self.max_blocking = perf_counter() - self.last_switch
        if self.max_blocking > self.max_blocking_time:
            return True, self.active_greenlet
        return False
