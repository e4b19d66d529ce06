"""Crawl a site with the standard library, ten pages at a time.

``urllib`` and ``http.server`` are the interpreter's own: patched, they wait
for each other in green threads. The site is served here as well; one of its
pages takes too long, and one is missing. Run it with
``coir run --as gevent gevent_crawler.py``.
"""

from gevent import monkey

monkey.patch_all()

import re  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import urllib.error  # noqa: E402
import urllib.request  # noqa: E402
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # noqa: E402

from gevent import killall, spawn  # noqa: E402
from gevent.queue import JoinableQueue  # noqa: E402

PAGES = 100
WORKERS = 10
PATIENCE = 1  # seconds


class Site(BaseHTTPRequestHandler):
    """Page n links to the pages 2 n and 2 n + 1."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(self.path.removeprefix("/"))
        if number == 13:
            self.send_error(404)
            return
        if number == 50:
            time.sleep(60)
        links = [n for n in (2 * number, 2 * number + 1) if n <= PAGES]
        body = "".join(f'<a href="/{n}">{n}</a>\n' for n in links).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = WORKERS


class Crawler:
    def __init__(self, base):
        self.base = base
        self.seen = set()
        self.read = 0
        self.problems = []
        self.waiting = JoinableQueue()

    def run(self):
        self.found("/1")
        workers = [spawn(self.work) for _ in range(WORKERS)]
        self.waiting.join()
        killall(workers)

    def found(self, path):
        if path not in self.seen:
            self.seen.add(path)
            self.waiting.put(path)

    def work(self):
        for path in self.waiting:
            try:
                self.fetch(path)
            except urllib.error.HTTPError as error:
                with error:  # it holds the connection
                    self.problems.append(f"{path}: {error}")
            except TimeoutError as error:
                self.problems.append(f"{path}: {error}")
            self.waiting.task_done()

    def fetch(self, path):
        with urllib.request.urlopen(self.base + path, None, PATIENCE) as page:
            text = page.read().decode()
        self.read += 1
        for link in re.findall('href="(.*?)"', text):
            self.found(link)


def main():
    server = Server(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    crawler = Crawler(f"http://127.0.0.1:{server.server_port}")
    crawler.run()
    print(f"{crawler.read} pages read, {len(crawler.seen)} seen")
    for problem in sorted(crawler.problems):
        print(problem)


if __name__ == "__main__":
    main()
