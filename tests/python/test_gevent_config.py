"""coir.gevent.config and its environment variables."""

import subprocess
import sys

import pytest
from coir.gevent import _config
from coir.gevent._config import Config


def config_with(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Config()


def test_environment_is_read_when_asked_for(monkeypatch):
    config = config_with(monkeypatch, GEVENT_MAX_BLOCKING_TIME="0.5")
    assert config.max_blocking_time == 0.5
    monkeypatch.setenv("GEVENT_MAX_BLOCKING_TIME", "0.7")
    assert config.max_blocking_time == 0.5
    assert Config().max_blocking_time == 0.7


def test_error_names_the_variable(monkeypatch):
    config = config_with(monkeypatch, GEVENT_MONITOR_THREAD_ENABLE="maybe")
    with pytest.raises(ValueError, match="GEVENT_MONITOR_THREAD_ENABLE"):
        _ = config.monitor_thread


def test_set_is_validated_and_keeps_what_was_set(monkeypatch):
    config = Config()
    config.max_memory_usage = "2mb"
    with pytest.raises(ValueError):
        config.max_memory_usage = -1
    assert config.max_memory_usage == 2 << 20


@pytest.mark.parametrize(
    ("text", "count"), [("17", 17), ("1kb", 1024), ("3GB", 3 << 30)]
)
def test_bytes(monkeypatch, text, count):
    config = config_with(monkeypatch, GEVENT_MONITOR_MEMORY_MAX=text)
    assert config.max_memory_usage == count


def test_idle_threads_may_stay_for_ever(monkeypatch):
    name = "GEVENT_THREADPOOL_IDLE_TASK_TIMEOUT"
    config = config_with(monkeypatch, **{name: "-1"})
    assert config.threadpool_idle_task_timeout == -1
    with pytest.raises(ValueError):
        config.threadpool_idle_task_timeout = -2


@pytest.mark.parametrize("name", ["libev-cext", "libuv", "libev-cffi"])
def test_loops_of_gevent_are_ours(monkeypatch, name):
    config = config_with(monkeypatch, GEVENT_LOOP=name)
    assert config.loop is Config().loop


def test_importable_takes_the_first_that_is_there():
    setting = _config.ImportableSetting()
    value = setting.validate(["no.such.module", "os.path.join", "os.sep"])
    assert value.__name__ == "join"
    with pytest.raises(ImportError, match="nothing_there"):
        setting.validate(["os.path.nothing_there"])


def test_every_setting_is_told_of():
    res = subprocess.run(
        [sys.executable, "-m", "coir.gevent._config"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert res.returncode == 0, res.stderr
    for setting in Config().settings.values():
        assert setting.environment_key in res.stdout
