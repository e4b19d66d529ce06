"""Applications that the tests of servers serve."""

import time


def plain(environ, start_response):
    """Say hello, or what the path asks for."""
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/slow":
        time.sleep(0.2)
        body = b"slow"
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"%d\n" % i for i in range(1000))
    elif path == "/pid":
        import os

        body = b"%d" % os.getpid()
    elif path == "/environ":
        body = repr(sorted(environ.items(), key=str)).encode()
    else:
        body = b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(body)))])
    return [body]


def flask():
    from flask import Flask, Response, request, stream_with_context

    app = Flask(__name__)

    @app.route("/hello")
    def hello():
        return "hello"

    @app.route("/echo", methods=["POST"])
    def echo():
        return request.get_data()

    @app.route("/json", methods=["POST"])
    def json():
        return {"sum": sum(request.get_json()["numbers"])}

    @app.route("/upload", methods=["POST"])
    def upload():
        file = request.files["file"]
        return f"{file.filename} {len(file.read())} {request.form['name']}"

    @app.route("/stream")
    def stream():
        def parts():
            for i in range(100):
                yield f"{i}\n"
                if i % 10 == 0:
                    time.sleep(0)

        return Response(stream_with_context(parts()), mimetype="text/plain")

    @app.route("/slow")
    def slow():
        time.sleep(0.2)
        return "slow"

    @app.route("/fails")
    def fails():
        raise ZeroDivisionError

    return app


def bottle():
    import bottle

    app = bottle.Bottle()

    @app.route("/hello")
    def hello():
        return "hello"

    @app.post("/echo")
    def echo():
        return bottle.request.body.read()

    @app.route("/slow")
    def slow():
        time.sleep(0.2)
        return "slow"

    return app


def django():
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x",
            DEBUG=False)
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    def hello(request):
        return HttpResponse("hello")

    def echo(request):
        return HttpResponse(request.body)

    def slow(request):
        time.sleep(0.2)
        return HttpResponse("slow")

    def stream(request):
        return StreamingHttpResponse(f"{i}\n" for i in range(100))

    global urlpatterns
    urlpatterns = [path("hello", hello), path("echo", echo),
                   path("slow", slow), path("stream", stream)]
    return get_wsgi_application()


urlpatterns = []
