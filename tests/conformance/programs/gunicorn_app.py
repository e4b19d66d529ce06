"""The application that test_ev_gunicorn serves."""

import eventlet


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        eventlet.sleep(1)
    body = eventlet.__file__.encode()
    if path == "/echo":
        body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(body)))])
    return [body]
