"""Two WSGI applications, one with Flask, one bare.

    coir serve http_app:app      # the one with Flask
    coir serve http_app:bare

Run as a program it serves one of them with gevent's pywsgi instead:

    python http_app.py app 8000
"""

import sys

from flask import Flask

app = Flask(__name__)


@app.get("/<name>")
def hello(name):
    return f"Hello, {name}!\n", {"Content-Type": "text/plain"}


def bare(environ, start_response):
    body = b"Hello, bare\n"
    start_response(
        "200 OK",
        [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))],
    )
    return [body]


if __name__ == "__main__":
    from gevent.pywsgi import WSGIServer

    _, name, port = sys.argv
    address = ("127.0.0.1", int(port))
    WSGIServer(address, globals()[name], log=None).serve_forever()
