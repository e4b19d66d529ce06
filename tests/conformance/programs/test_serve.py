"""Flask, Django and Bottle under `coir serve` and gunicorn, and behind nginx.

The servers are processes; on the original there is gunicorn's gevent alone.
"""

import http.client
import os
import pathlib
import signal
import socket
import tempfile
import threading
import unittest

import requests
import serving
import wsgi_apps
from serving import coir_serve, free_port, gunicorn, in_threads, until

ON_COIR = "COIR_AS" in os.environ
NUMBERS = [str(i) for i in range(100)]
#: an address of this machine that no server trusts
CLIENT = "127.0.0.2"


class Load(threading.Thread):
    """One client's requests, on and on; what failed."""

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.pids = []
        self.failures = []
        self.ends = False

    def run(self):
        while not self.ends:
            try:
                answer = requests.get(self.url, timeout=60)
                answer.raise_for_status()
                self.pids.append(answer.text)
            except requests.RequestException as exc:
                self.failures.append(exc)


class Common:
    """What each framework does under each server."""

    framework = ""
    takes_chunks = True
    has_ranges = True
    #: workers are told of HUP by the process that was started
    reloads = True

    @classmethod
    def setUpClass(cls):
        cls.tmp = pathlib.Path(cls.enterClassContext(
            tempfile.TemporaryDirectory()))
        cls.log = cls.tmp / "log"
        cls.port = free_port()
        cls.url = f"http://127.0.0.1:{cls.port}"
        cls.app = f"wsgi_apps:{cls.framework}()"
        cls.start()
        until(cls.answers, cls.log)

    @classmethod
    def answers(cls):
        try:
            return requests.get(f"{cls.url}/hello", timeout=60).ok
        except OSError:
            return False

    @classmethod
    def run_server(cls, command):
        cls.proc = cls.enterClassContext(serving.running(command, cls.log))

    def setUp(self):
        self.session = self.enterContext(requests.Session())

    def get(self, path, **kwargs):
        return self.session.get(f"{self.url}/{path}", timeout=60, **kwargs)

    def text(self):
        return self.log.read_text()

    def test_hello(self):
        for _ in range(20):
            answer = self.get("hello")
            self.assertEqual((answer.status_code, answer.text),
                             (200, "hello"))
        self.assertEqual(self.get("none").status_code, 404)
        answer = self.session.head(f"{self.url}/hello")
        self.assertEqual((answer.status_code, answer.text), (200, ""))
        self.assertEqual(self.get("hello").text, "hello")

    def test_bodies(self):
        url = f"{self.url}/echo"
        for size in (0, 1, 10_000, 2_000_000):
            data = b"x" * size
            self.assertEqual(self.session.post(url, data=data).content, data)
        if self.takes_chunks:
            parts = [b"a" * 1000, b"b", b"c" * 100_000]
            self.assertEqual(
                self.session.post(url, data=iter(parts)).content,
                b"".join(parts))

    def test_stream(self):
        for _ in range(3):
            self.assertEqual(self.get("stream").text.split(), NUMBERS)

    def test_stream_that_breaks_is_not_taken_for_a_whole_one(self):
        with self.assertRaises(requests.RequestException):
            answer = self.get("breaks")
            answer.raise_for_status()
        self.assertEqual(self.get("hello").text, "hello")

    def test_error(self):
        answer = self.get("fails")
        self.assertEqual(answer.status_code, 500)
        self.assertNotIn("Traceback", answer.text)
        self.assertEqual(self.get("hello").text, "hello")

    def test_cookies(self):
        for i in range(1, 4):
            answer = self.get("cookies")
            self.assertEqual(answer.text, str(i))
            self.assertEqual(answer.cookies["other"], '"a b"')

    def test_file(self):
        content = pathlib.Path(wsgi_apps.__file__).read_bytes()
        answer = self.get("file")
        self.assertEqual(answer.content, content)
        self.assertEqual(answer.headers["Content-Length"],
                         str(len(content)))
        if self.has_ranges:
            answer = self.get("file", headers={"Range": "bytes=10-99"})
            self.assertEqual((answer.status_code, answer.content),
                             (206, content[10:100]))
            when = answer.headers["Last-Modified"]
            answer = self.get("file", headers={"If-Modified-Since": when})
            self.assertEqual((answer.status_code, answer.content), (304, b""))

    def test_many_at_once(self):
        found = in_threads(lambda i: requests.get(f"{self.url}/slow").text,
                           20)
        self.assertEqual(set(found), {"slow"})

    def asked_from_elsewhere(self, port, fields):
        """What the application takes for the scheme, host and client."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=60, source_address=(CLIENT, 0))
        connection.request("GET", "/client", headers={
            "Host": "example.org", **fields})
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    def test_client_that_pretends_to_be_a_proxy(self):
        found = self.asked_from_elsewhere(self.port, {
            "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example"})
        self.assertEqual(found, f"http example.org {CLIENT}")

    def test_reload_under_load(self):
        if not self.reloads:
            self.skipTest("only a process with workers has that")
        loads = [Load(f"{self.url}/pid") for _ in range(4)]
        for load in loads:
            load.start()
        try:
            until(lambda: all(len(load.pids) > 5 for load in loads), self.log)
            for _ in range(2):
                old = {pid for load in loads for pid in load.pids}
                self.proc.send_signal(signal.SIGHUP)
                until(lambda old=old: all(old.isdisjoint(load.pids[-20:])
                                          for load in loads), self.log)
        finally:
            for load in loads:
                load.ends = True
            for load in loads:
                load.join()
        self.assertEqual([load.failures for load in loads], [[]] * 4,
                         self.text())


class Flask(Common):
    framework = "flask"


class Bottle(Common):
    framework = "bottle"
    takes_chunks = False


class Django(Common):
    framework = "django"
    takes_chunks = False
    has_ranges = False


class CoirServe:
    needs_coir = True
    options = ("-w", "2")

    @classmethod
    def start(cls):
        cls.run_server(coir_serve(cls.app, cls.port, *cls.options))


class CoirServePatched(CoirServe):
    options = ("-w", "2", "--patch")

    def test_one_waits_and_the_others_do_not(self):
        # Both workers wait for at least five of them at a time.
        connections = [
            socket.create_connection(("127.0.0.1", self.port), 60)
            for _ in range(20)]
        for sock in connections:
            sock.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
        self.assertEqual(self.get("hello").text, "hello")
        for sock in connections:
            with sock, sock.makefile("rb") as file:
                self.assertTrue(file.read().endswith(b"slow"))


class GunicornCoir:
    needs_coir = True
    worker = "coir"

    @classmethod
    def start(cls):
        cls.run_server(gunicorn(cls.worker, cls.app, cls.port, "-w", "2",
                                "--graceful-timeout", "20"))


class GunicornGevent(GunicornCoir):
    needs_coir = False
    worker = "gevent"
    # gunicorn may close a listener before it asks it for its name, for a
    # connection that it has accepted, which then fails.
    reloads = False

    def test_client_that_pretends_to_be_a_proxy(self):
        self.skipTest("the application sees what the client says")


class Nginx:
    """A server that is reached by nginx, which is at the port."""

    needs_coir = True
    trusted = "127.0.0.1"

    @classmethod
    def start(cls):
        if serving.NGINX is None:
            raise unittest.SkipTest("no nginx: install Debian package nginx")
        cls.upstream = cls.make_upstream()
        cls.run_server(coir_serve(
            cls.app, cls.upstream, "-w", "2", "--patch",
            "--forwarded-allow-ips", cls.trusted))
        until(lambda: serving.accepts(cls.upstream), cls.log)
        cls.enterClassContext(serving.nginx(
            cls.tmp, cls.port, cls.upstream, cls.log,
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
            "proxy_set_header X-Forwarded-Proto https;"
            "proxy_set_header X-Forwarded-Host $host;"))

    def test_client_that_pretends_to_be_a_proxy(self):
        found = self.asked_from_elsewhere(self.port, {
            "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "evil.example"})
        self.assertEqual(found, f"https example.org {CLIENT}")


class NginxTcp(Nginx):
    make_upstream = staticmethod(free_port)

    def test_client_that_goes_around_the_proxy(self):
        found = self.asked_from_elsewhere(self.upstream, {
            "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example"})
        self.assertEqual(found, f"http example.org {CLIENT}")


class NginxUnix(Nginx):
    trusted = "unix"

    @classmethod
    def make_upstream(cls):
        return cls.tmp / "socket"


for server in (CoirServe, CoirServePatched, GunicornCoir, GunicornGevent,
               NginxTcp, NginxUnix):
    if server.needs_coir and not ON_COIR:
        continue
    for framework in Flask, Bottle, Django:
        name = f"Test{server.__name__}{framework.__name__}"
        globals()[name] = type(name, (server, framework, unittest.TestCase),
                               {"__module__": __name__})
del server, framework

if __name__ == "__main__":
    unittest.main()
