"""Servers for the programs: made for one run, in a directory of their own.

Each listens on 127.0.0.1 only, and is gone when its context ends. What a
server needs and is not there makes it Missing, with what to install.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from _env import HERE

#: seconds that a server may take to be ready
PATIENCE = 60


class Missing(Exception):
    """A server cannot be had here; the message says what to do."""


def _find(command: str, package: str, *directories: str) -> str:
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", *directories])
    found = shutil.which(command, path=path)
    if found is None:
        raise Missing(f"no {command}: install Debian package {package}")
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def _process(command: list[str], log: pathlib.Path, **options
             ) -> Iterator[subprocess.Popen]:
    """A process that is ended with its context."""
    with open(log, "ab") as output:
        proc = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                stderr=output, start_new_session=True,
                                **{"stdout": output, **options})
    try:
        yield proc
    finally:
        proc.terminate()
        try:
            proc.wait(20)
        except subprocess.TimeoutExpired:
            proc.kill()
            proc.wait()
        if proc.stdout is not None:
            proc.stdout.close()


def _wait_for(port: int, proc: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and proc.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(
                ("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise Missing(f"{proc.args[0]} does not start:\n"
                  f"{log.read_text(errors='replace')[-2000:]}")


def _quietly(command: list[str], **options) -> None:
    options = {"stdin": subprocess.DEVNULL, **options}
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise Missing(f"{command[0]} failed:\n{done.stdout[-2000:]}")


@contextlib.contextmanager
def redis(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    command = _find("redis-server", "redis-server")
    port = _free_port()
    log = tmp / "log"
    with _process([command, "--port", str(port), "--bind", "127.0.0.1",
                   "--save", "", "--dir", str(tmp)], log) as proc:
        _wait_for(port, proc, log)
        yield {"REDIS": str(port)}


@contextlib.contextmanager
def mariadb(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    command = _find("mariadbd", "mariadb-server-core")
    user = pwd.getpwuid(os.geteuid()).pw_name
    data = tmp / "data"
    data.mkdir()
    # What mariadb-install-db does, which needs more packages.
    tables = tmp / "tables.sql"
    with open(tables, "w") as output:
        output.write("CREATE DATABASE mysql;\nUSE mysql;\n")
        for name in ("mysql_system_tables", "mysql_performance_tables",
                     "mysql_system_tables_data"):
            output.write(pathlib.Path(
                f"/usr/share/mysql/{name}.sql").read_text())
    with open(tables) as script:
        _quietly([command, "--no-defaults", "--bootstrap",
                  f"--datadir={data}", f"--user={user}"], stdin=script)
    script = tmp / "init.sql"
    script.write_text(
        "DELETE FROM mysql.global_priv WHERE User='';\n"
        "FLUSH PRIVILEGES;\n"
        "CREATE DATABASE coir;\n"
        "CREATE USER coir@'%' IDENTIFIED BY 'secret';\n"
        "CREATE USER coir@localhost IDENTIFIED BY 'secret';\n"
        "GRANT ALL ON coir.* TO coir@'%';\n"
        "GRANT ALL ON coir.* TO coir@localhost;\n")
    port = _free_port()
    log = tmp / "log"
    sock = tmp / "socket"
    with _process([command, "--no-defaults", f"--datadir={data}",
                   f"--user={user}", f"--socket={sock}", f"--port={port}",
                   "--bind-address=127.0.0.1", f"--init-file={script}",
                   f"--pid-file={tmp / 'pid'}",
                   "--max-allowed-packet=16M"], log) as proc:
        _wait_for(port, proc, log)
        yield {"MARIADB": str(sock), "MARIADB_PORT": str(port)}


@contextlib.contextmanager
def postgresql(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    directories = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    command = _find("postgres", "postgresql", *directories)
    initdb = _find("initdb", "postgresql", *directories)
    options = {}
    if os.geteuid() == 0:  # it refuses to run as root
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            raise Missing("no user postgres: install Debian package "
                          "postgresql") from None
        options = {"user": account.pw_uid, "group": account.pw_gid,
                   "extra_groups": []}
        os.chown(tmp, account.pw_uid, account.pw_gid)
    data = tmp / "data"
    _quietly([initdb, "-D", str(data), "-A", "trust", "-U", "coir",
              "--no-sync"], cwd=tmp, **options)
    port = _free_port()
    log = tmp / "log"
    with _process([command, "-D", str(data), "-k", str(tmp), "-F", "-h",
                   "127.0.0.1", "-p", str(port)], log, cwd=tmp,
                  **options) as proc:
        _wait_for(port, proc, log)
        yield {"POSTGRESQL": f"host=127.0.0.1 port={port} user=coir "
                             "dbname=postgres"}


@contextlib.contextmanager
def _python_server(python: str, name: str, tmp: pathlib.Path, *args: str
                   ) -> Iterator[int]:
    """One of the programs' own servers, which tells its port."""
    log = tmp / f"{name}.log"
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("COIR_", "PYTHON"))}
    with _process([python, str(HERE / "programs" / f"{name}.py"), *args],
                  log, stdout=subprocess.PIPE, env=env, text=True) as proc:
        line = proc.stdout.readline()
        if not line:
            raise Missing(f"{name} does not start:\n{log.read_text()}")
        yield int(line)


@contextlib.contextmanager
def http(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    openssl = _find("openssl", "openssl")
    key, certificate = tmp / "key.pem", tmp / "certificate.pem"
    _quietly([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes",
              "-days", "2", "-subj", "/CN=localhost", "-addext",
              "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out",
              str(certificate)])
    name = "http_server"
    with (_python_server(python, name, tmp) as port,
          _python_server(python, name, tmp, str(certificate), str(key))
          as tls_port):
        yield {"HTTP": f"http://127.0.0.1:{port}",
               "HTTPS": f"https://127.0.0.1:{tls_port}",
               "CA": str(certificate)}


@contextlib.contextmanager
def websocket(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    with _python_server(python, "websocket_server", tmp) as port:
        yield {"WEBSOCKET": str(port)}


@contextlib.contextmanager
def rabbitmq(tmp: pathlib.Path, python: str) -> Iterator[dict[str, str]]:
    # Not the one for everybody, which becomes another user.
    command = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    if not os.path.exists(command):
        raise Missing(f"no {command}: install Debian package rabbitmq-server")
    port = _free_port()
    log = tmp / "log"
    config = tmp / "rabbitmq.conf"
    config.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n"
                      "log.console = true\n")
    env = {
        **os.environ,
        "HOME": str(tmp),
        "RABBITMQ_NODENAME": f"coir{port}@localhost",
        "RABBITMQ_DIST_PORT": str(_free_port()),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_MNESIA_BASE": str(tmp / "mnesia"),
        "RABBITMQ_LOG_BASE": str(tmp / "logs"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(tmp / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(tmp / "plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(tmp / "flags"),
        "ERL_EPMD_PORT": str(_free_port()),
    }
    with _process([command], log, env=env, cwd=tmp) as proc:
        try:
            _wait_for(port, proc, log)
            yield {"RABBITMQ": str(port)}
        finally:
            # The command is a script, and what it starts is in its group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(proc.pid, signal.SIGKILL)
            subprocess.run([_find("epmd", "erlang-base"), "-kill"],
                           env=env, capture_output=True)


SERVERS = {"redis": redis, "mariadb": mariadb, "postgresql": postgresql,
           "rabbitmq": rabbitmq, "http": http, "websocket": websocket}


@contextlib.contextmanager
def start(name: str, python: str) -> Iterator[dict[str, str]]:
    """Run a server.

    :param python: the interpreter for those that are Python programs.
    :returns: the variables for the programs, without their prefix.
    :raises Missing: if it cannot be had or does not start.
    """
    with tempfile.TemporaryDirectory(
            prefix="coir-server-", ignore_cleanup_errors=True) as tmp:
        with SERVERS[name](pathlib.Path(tmp), python) as found:
            yield found
