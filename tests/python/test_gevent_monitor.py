"""The thread that looks whether greenlets block the hub, and its tracer."""

import gc
import io
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest
from coir._core import SwitchTracer, getcurrent, gettrace, greenlet, settrace


@pytest.fixture
def tracer():
    made = SwitchTracer()
    yield made
    made.kill()
    settrace(None)


def test_tracer_counts_and_knows_who_runs(tracer):
    seen = []
    g = greenlet(lambda: seen.append(tracer.active_greenlet))
    g.switch()
    assert seen == [g]
    assert tracer.active_greenlet is getcurrent()
    assert tracer.greenlet_switch_counter == 2
    tracer.greenlet_switch_counter = 0
    assert tracer.greenlet_switch_counter == 0
    with pytest.raises(TypeError):
        tracer.greenlet_switch_counter = "many"
    with pytest.raises(TypeError):
        del tracer.greenlet_switch_counter


def test_tracer_ignores_until_the_next_switch(tracer):
    tracer.active_greenlet = None
    assert tracer.active_greenlet is None
    greenlet(lambda: None).switch()
    assert tracer.active_greenlet is getcurrent()


def test_tracer_called_by_hand(tracer):
    tracer("switch", (1, 2))
    assert tracer.active_greenlet == 2
    tracer("unknown", ())
    assert tracer.active_greenlet is None
    assert tracer.greenlet_switch_counter == 2
    with pytest.raises(TypeError):
        tracer("switch")


def test_tracer_sees_a_throw_and_leaves_the_exception(tracer):
    def body():
        with pytest.raises(KeyError):
            getcurrent().parent.switch()
        return tracer.active_greenlet

    g = greenlet(body)
    g.switch()
    assert g.throw(KeyError) is g


def test_tracer_calls_the_function_before_it():
    calls = []

    def before(event, args):
        calls.append((event, args))

    settrace(before)
    made = SwitchTracer()
    assert made.previous_trace_function is before
    g = greenlet(lambda: None)
    g.switch()
    assert calls == [
        ("switch", (getcurrent(), g)),
        ("switch", (g, getcurrent())),
    ]
    made.kill()
    assert gettrace() is before and made.previous_trace_function is None
    settrace(None)


def test_tracer_leaves_a_later_function_alone():
    made = SwitchTracer()
    settrace(print)
    made.kill()
    assert settrace(None) is print


def test_tracer_is_killed_by_another_thread():
    made = SwitchTracer()
    other = threading.Thread(target=made.kill)
    other.start()
    other.join()
    assert gettrace() is None


def test_tracer_of_a_thread_that_has_ended():
    made = []
    other = threading.Thread(target=lambda: made.append(SwitchTracer()))
    other.start()
    other.join()
    assert made[0].active_greenlet is None
    made[0].kill()


def test_tracer_subclass():
    class Loud(SwitchTracer):
        def __call__(self, event, args):
            self.events.append(event)
            return super().__call__(event, args)

    loud = Loud()
    loud.events = []
    greenlet(lambda: None).switch()
    loud.kill()
    assert loud.events == ["switch", "switch"]
    assert loud.greenlet_switch_counter == 2


def test_tracer_is_collected():
    class Kept(SwitchTracer):
        pass

    made = Kept()
    made.me = made
    gone = weakref.ref(made)
    made.kill()
    del made
    gc.collect()
    assert gone() is None


# The monitor


class LoopLike:
    waits = True
    iteration = 1


class HubLike:
    def __init__(self):
        self.loop = LoopLike()
        self.thread_ident = threading.get_ident()
        self.exception_stream = io.StringIO()


@pytest.fixture
def monitor(monkeypatch):
    from coir.gevent import _monitor

    monkeypatch.setattr(_monitor, "start_new_thread", lambda f, args: 4711)
    hub = HubLike()
    made = _monitor.PeriodicMonitoringThread(hub)
    made.keep = hub
    yield made
    made.kill()


def test_blocked_greenlet_is_reported_with_its_stack(monitor):
    hub = monitor.keep
    reports = []

    def block():
        assert monitor.monitor_blocking(hub) is None  # it was switched to
        reports.append(monitor.monitor_blocking(hub))

    g = greenlet(block)
    g.switch()
    who, report = reports[0]
    text = "\n".join(report)
    assert who is g
    assert "appears to be blocked" in text and "in block" in text
    assert text in hub.exception_stream.getvalue() + "\n"


def test_subscribers_may_change_the_report(monitor):
    from coir.gevent import events

    def replace(event):
        event.info[:] = ["all is well"]

    events.subscribers.append(replace)
    try:
        greenlet(
            lambda: [monitor.monitor_blocking(monitor.keep) for _ in "12"]
        ).switch()
    finally:
        events.subscribers.remove(replace)
    assert monitor.keep.exception_stream.getvalue() == "all is well\n"


def test_the_hub_may_stay_in_its_loop(monitor):
    hub = monitor.keep
    monitor._greenlet_tracer("switch", (None, hub))
    for _ in range(3):
        assert monitor.monitor_blocking(hub) is None


def test_the_hub_is_to_go_on_in_its_loop(monitor):
    hub = monitor.keep
    hub.loop.waits = False
    monitor._greenlet_tracer("switch", (None, hub))
    for _ in range(3):  # it has called much, but switched to nobody
        assert monitor.monitor_blocking(hub) is None
        hub.loop.iteration += 1
    monitor.monitor_blocking(hub)
    who, _report = monitor.monitor_blocking(hub)  # one callback, all the time
    assert who is hub


def test_functions_are_called_when_their_time_has_come(monitor):
    called = []
    monitor.add_monitoring_function(called.append, 1)
    entries = monitor.monitoring_functions()
    entries[0].period = 0
    monitor._look(entries)
    monitor._look(entries)
    assert called == [monitor.keep]


def test_monitor_of_a_real_hub():
    code = """
        import sys, time
        import coir.gevent
        from coir.gevent import events

        blocked = []
        started = []

        def subscriber(event):
            if isinstance(event, events.EventLoopBlocked):
                blocked.append(event)
            elif isinstance(event, events.PeriodicMonitorThreadStartedEvent):
                started.append(event.monitor)

        events.subscribers.append(subscriber)

        def culprit():
            while not blocked:
                time.sleep(0.001)

        coir.gevent.sleep(0.06)  # the hub may sleep
        assert not blocked
        coir.gevent.spawn(culprit).join()
        assert "culprit" in "".join(blocked[0].info)
        assert blocked[0].greenlet is not coir.gevent.get_hub()
        del blocked[:]
        coir.gevent.get_hub().loop.run_callback(culprit)
        coir.gevent.sleep(0.001)
        assert blocked[0].greenlet is coir.gevent.get_hub()
        assert blocked[0].hub is coir.gevent.get_hub()
        thread = coir.gevent.get_hub().periodic_monitoring_thread
        assert started == [thread]
        coir.gevent.get_hub().destroy()
        assert not thread.should_run
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={
            "GEVENT_MONITOR_THREAD_ENABLE": "1",
            "GEVENT_MAX_BLOCKING_TIME": "0.02",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "appears to be blocked" in done.stderr
