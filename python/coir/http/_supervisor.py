"""The parent of the workers of ``coir serve``.

It listens, forks workers, which inherit the listeners, and waits for signals,
for what workers say, and for their end. It never imports the application, has
no hub and no threads, so that forking is safe at any time, and a new worker
starts from scratch.

Each worker has one end of a socket pair, the *line*:

- the worker writes ``r``: it serves; ``b``: it is alive; ``x``: it wants to
  be replaced;
- the parent writes ``g``: stop gracefully; ``s``: soon; ``q``: at once; ``l``:
  open the log files anew.

Orders go this way and not as signals, so that those that a terminal sends to
the whole process group count once. When the parent dies the line ends, and
the workers stop gracefully.

A worker's states:

    STARTING --r--> SERVING --x, reload--> LEAVING --> gone
        \\                \\                  (told to stop)
         \\--- dies -------\\--- dies: its place is filled again, later each
                                time if it did not live long

A reload starts a new worker for each place first; the old ones are told to
stop when the new one of their place serves. If a new one cannot be started
the old ones stay.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Supervisor"]

_log = logging.getLogger("coir.http")

#: A worker that lived for so many seconds was a good one.
_GOOD_LIFE = 10.0
#: Seconds until a place is filled again: the first is doubled each time.
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 10.0
#: Seconds that a worker has, beyond its own limit, to end.
_GRACE = 2.0

#: Exit status of a worker that cannot load the application, and ours then.
BOOT_FAILED = 3

_HEEDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)

STARTING, SERVING, LEAVING = "starting", "serving", "leaving"


class _Worker:
    """A worker process, seen from its parent."""

    def __init__(self, place: int) -> None:
        self.place = place
        self.pid = 0
        self.state = STARTING
        self.born = self.heard = time.monotonic()
        self.deadline: float | None = None  # when it is to be killed
        self.old: _Worker | None = None  # whose successor it is
        self.line: socket.socket | None = None

    def tell(self, order: bytes) -> None:
        """Write to it; if it is gone, that is noticed elsewhere."""
        if self.line is not None:
            try:
                self.line.send(order)
            except OSError:
                pass

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None


class Supervisor:
    """Keeps ``count`` workers running until it is told to stop.

    :param count: how many.
    :param work: what a worker does, in the child process: called with its
        place (from 0) and its end of the line; returns the exit status.
    :param graceful: seconds that requests have to end when stopping.
    :param silence: a worker that has not said anything for so many seconds is
        killed; 0: never.
    :param reload: called at SIGHUP, before new workers are started; may
        raise, then nothing happens. Returns how many there are to be.
    :param resize: called when there are to be more workers, or fewer, with
        their number: before these are started, after they were told to stop.
    :param reopen: called at SIGUSR1.

    Signals: TERM stops gracefully; INT within a few seconds; QUIT, or a
    second INT or TERM, at once. HUP starts new workers in place of the old
    ones. USR1 has log files opened anew. TTIN and TTOU start one more, or
    stop one.
    """

    #: Seconds until SIGINT cuts requests off.
    soon = 3.0

    def __init__(
        self,
        count: int,
        work: Callable[[int, socket.socket], int],
        *,
        graceful: float = 30.0,
        silence: float = 0.0,
        reload: Callable[[], int] | None = None,
        resize: Callable[[int], None] | None = None,
        reopen: Callable[[], None] | None = None,
    ) -> None:
        self.count = count
        self._work = work
        self.graceful = graceful
        self.silence = silence
        self._reload = reload
        self._resize = resize
        self._reopen = reopen
        self._workers: dict[int, _Worker] = {}  # by pid
        self._signals: list[int] = []
        self._stopping = ""  # the order they were told
        self._failures: dict[int, int] = {}  # in a row, by place
        self._due: dict[int, float] = {}  # when a place is filled again
        self._ever_served = False
        self._status = 0

    # --- running

    def run(self) -> int:
        """Serve until told to stop; the exit status of the process."""
        receiver, sender = socket.socketpair()
        receiver.setblocking(False)
        sender.setblocking(False)
        old = {n: signal.signal(n, self._note) for n in _HEEDED}
        old_fd = signal.set_wakeup_fd(
            sender.fileno(), warn_on_full_buffer=False
        )
        self._own = (receiver, sender)
        try:
            self._fill()
            while self._workers or not self._stopping:
                self._turn(receiver)
        finally:
            self._kill_all()
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)
            receiver.close()
            sender.close()
        return self._status

    def _note(self, number: int, frame: Any) -> None:
        self._signals.append(number)

    def _turn(self, receiver: socket.socket) -> None:
        lines = {
            w.line.fileno(): w
            for w in self._workers.values()
            if w.line is not None
        }
        poll = select.poll()
        for fd in lines:
            poll.register(fd, select.POLLIN)
        poll.register(receiver, select.POLLIN)
        for fd, _ in poll.poll(self._wait_ms()):
            if fd in lines:
                self._hear(lines[fd])
            else:
                _drain(receiver)
        while self._signals:
            self._obey(self._signals.pop(0))
        self._bury()
        self._check_deadlines()
        if not self._stopping:
            self._fill()

    def _wait_ms(self) -> float | None:
        """How long nothing has to be done."""
        times = [w.deadline for w in self._workers.values() if w.deadline]
        times += self._due.values()
        if self.silence:
            times += [w.heard + self.silence for w in self._workers.values()]
        if not times:
            return None
        return max(0.0, min(times) - time.monotonic()) * 1000 + 1

    # --- workers

    def _fill(self) -> None:
        """Start a worker for each place that has none."""
        now = time.monotonic()
        taken = {w.place for w in self._workers.values() if w.state != LEAVING}
        for place in range(self.count):
            if place in taken or self._due.get(place, 0) > now:
                continue
            self._due.pop(place, None)
            self._start(place)
        for place in [p for p in self._due if p >= self.count]:
            del self._due[place]

    def _start(self, place: int, old: _Worker | None = None) -> None:
        worker = _Worker(place)
        worker.old = old
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            worker.pid = os.fork()
        except OSError as exc:
            ours.close()
            theirs.close()
            _log.error("cannot start a worker: %s", exc)
            self._put_off(place)
            return
        if worker.pid == 0:
            ours.close()
            self._be_worker(place, theirs)
        theirs.close()
        ours.setblocking(False)
        worker.line = ours
        self._workers[worker.pid] = worker

    def _be_worker(self, place: int, line: socket.socket) -> None:
        """In the child. Does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _HEEDED:
                # Many come to the whole process group, from the terminal for
                # one: the parent knows what to do about them. They are not
                # ignored, for programs that are started would do so, too.
                signal.signal(number, _nothing)
            for number in signal.SIGTERM, signal.SIGQUIT, signal.SIGCHLD:
                signal.signal(number, signal.SIG_DFL)
            for s in self._own:
                s.close()
            for other in self._workers.values():
                other.close()
            status = self._work(place, line)
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
            if isinstance(exc.code, str):
                print(exc.code, file=sys.stderr)
        except BaseException:
            _log.critical("a worker failed", exc_info=True)
        finally:
            logging.shutdown()
            for file in sys.stdout, sys.stderr:
                try:
                    file.flush()
                except (OSError, ValueError):
                    pass
            os._exit(status)

    def _hear(self, worker: _Worker) -> None:
        assert worker.line is not None
        try:
            said = worker.line.recv(1024)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        worker.heard = time.monotonic()
        if not said:
            worker.close()
            return
        if b"r" in said and worker.state == STARTING:
            self._serves(worker)
        if b"x" in said and worker.state == SERVING and not self._stopping:
            if not any(w.old is worker for w in self._workers.values()):
                self._start(worker.place, worker)

    def _serves(self, worker: _Worker) -> None:
        worker.state = SERVING
        self._ever_served = True
        old, worker.old = worker.old, None
        if old is None:
            _log.info("worker %d serves", worker.pid)
        else:
            _log.info("worker %d serves in place of %d", worker.pid, old.pid)
            self._dismiss(old, b"g")
        if self._stopping:
            self._dismiss(worker, self._stopping.encode())
        elif worker.place >= self.count:
            self._dismiss(worker, b"g")

    def _dismiss(self, worker: _Worker, order: bytes) -> None:
        limit = {b"g": self.graceful, b"s": self.soon}.get(order, 0.0)
        worker.state = LEAVING
        worker.tell(order)
        worker.deadline = time.monotonic() + limit + _GRACE

    def _bury(self) -> None:
        """See which have ended."""
        for pid, worker in list(self._workers.items()):
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                found, status = pid, 0
            if found:
                worker.close()
                del self._workers[pid]
                self._has_ended(worker, os.waitstatus_to_exitcode(status))

    def _has_ended(self, worker: _Worker, code: int) -> None:
        for successor in self._workers.values():
            if successor.old is worker:
                successor.old = None
        if worker.state == LEAVING or self._stopping:
            return
        what = f"by signal {-code}" if code < 0 else f"with status {code}"
        _log.error("worker %d ended %s", worker.pid, what)
        if worker.state == STARTING and not self._ever_served:
            # It never worked: somebody has to look at it.
            self._status = code if code > 0 else 1
            _log.error("the first worker cannot start: giving up")
            self._stop("q")
        elif worker.old is not None:
            _log.error("the old worker %d stays", worker.old.pid)
        elif time.monotonic() - worker.born < _GOOD_LIFE:
            self._put_off(worker.place)
        else:
            self._failures.pop(worker.place, None)

    def _put_off(self, place: int) -> None:
        """Fill this place later, the more often that happens."""
        failed = self._failures.get(place, 0)
        self._failures[place] = failed + 1
        delay = min(_FIRST_DELAY * 2**failed, _LONGEST_DELAY)
        self._due[place] = time.monotonic() + delay

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for worker in self._workers.values():
            if worker.deadline is not None and now >= worker.deadline:
                _log.error("worker %d does not end: killed", worker.pid)
                worker.deadline = now + 60
                _kill(worker, signal.SIGKILL)
            elif (
                self.silence
                and worker.state != LEAVING
                and now >= worker.heard + self.silence
            ):
                _log.critical(
                    "worker %d has been stuck for %g s: killed",
                    worker.pid,
                    self.silence,
                )
                worker.heard = now
                # It may show where it is stuck: see faulthandler.
                _kill(worker, signal.SIGABRT)
                worker.deadline = now + _GRACE

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            _kill(worker, signal.SIGKILL)
            try:
                os.waitpid(worker.pid, 0)
            except ChildProcessError:
                pass
            worker.close()
        self._workers.clear()

    # --- orders

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            order = "g" if number == signal.SIGTERM else "s"
            self._stop("q" if self._stopping else order)
        elif number == signal.SIGQUIT:
            self._stop("q")
        elif number == signal.SIGUSR1:
            if self._reopen is not None:
                self._reopen()
            for worker in self._workers.values():
                worker.tell(b"l")
        elif self._stopping:
            pass
        elif number == signal.SIGHUP:
            self._do_reload()
        elif number == signal.SIGTTIN:
            self._set_count(self.count + 1)
        elif number == signal.SIGTTOU and self.count > 1:
            self._set_count(self.count - 1)

    def _stop(self, order: str) -> None:
        if self._stopping == order == "q":
            return
        if not self._status:
            _log.info("stopping%s", " at once" if order == "q" else "")
        self._stopping = order
        for worker in self._workers.values():
            self._dismiss(worker, order.encode())

    def _do_reload(self) -> None:
        _log.info("reloading")
        count = self.count
        if self._reload is not None:
            try:
                count = self._reload()
            except Exception as exc:
                _log.error("cannot reload: %s", exc)
                return
        self._set_count(count)
        self._failures.clear()
        self._due.clear()
        for worker in list(self._workers.values()):
            if worker.state == STARTING:
                # What it is about to load may be old already; or it serves,
                # and has not been heard yet.
                old, worker.old = worker.old, None
                self._dismiss(worker, b"g")
                if old is not None and worker.place < self.count:
                    self._start(worker.place, old)
            elif worker.state == SERVING and worker.place < self.count:
                if not any(w.old is worker for w in self._workers.values()):
                    self._start(worker.place, worker)

    def _set_count(self, count: int) -> None:
        if count > self.count and self._resize is not None:
            self._resize(count)
        was, self.count = self.count, count
        for worker in self._workers.values():
            if worker.place >= count and worker.state != LEAVING:
                self._dismiss(worker, b"g")
        if count < was and self._resize is not None:
            self._resize(count)


def _nothing(number: int, frame: Any) -> None:
    pass


def _drain(s: socket.socket) -> None:
    try:
        while s.recv(4096):
            pass
    except OSError as exc:
        if exc.errno not in (errno.EAGAIN, errno.EINTR):
            raise


def _kill(worker: _Worker, number: int) -> None:
    try:
        os.kill(worker.pid, number)
    except ProcessLookupError:
        pass
