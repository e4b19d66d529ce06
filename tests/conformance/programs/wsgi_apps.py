"""Applications that the tests of servers serve."""

import os
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
        body = b"%d" % os.getpid()
    elif path == "/environ":
        body = repr(sorted(environ.items(), key=str)).encode()
    else:
        body = b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"),
                              ("Content-Length", str(len(body)))])
    return [body]


def numbers():
    """A hundred lines, with the chance for others to run."""
    for i in range(100):
        yield f"{i}\n"
        if i % 10 == 0:
            time.sleep(0)


def breaking():
    """Some lines, and then an error."""
    yield from numbers()
    raise ZeroDivisionError


def flask():
    from flask import (
        Flask,
        Response,
        make_response,
        request,
        send_file,
        stream_with_context,
    )

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
        return Response(stream_with_context(numbers()),
                        mimetype="text/plain")

    @app.route("/breaks")
    def breaks():
        return Response(breaking(), mimetype="text/plain")

    @app.route("/cookies")
    def cookies():
        count = int(request.cookies.get("count", "0")) + 1
        response = make_response(f"{count}")
        response.set_cookie("count", f"{count}", httponly=True)
        response.set_cookie("other", "a b")
        return response

    @app.route("/file")
    def file():
        return send_file(__file__, mimetype="text/plain")

    @app.route("/client")
    def client():
        return f"{request.scheme} {request.host} {request.remote_addr}"

    @app.route("/pid")
    def pid():
        return f"{os.getpid()}"

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

    @app.route("/stream")
    def stream():
        bottle.response.content_type = "text/plain"
        return numbers()

    @app.route("/breaks")
    def breaks():
        bottle.response.content_type = "text/plain"
        return breaking()

    @app.route("/fails")
    def fails():
        raise ZeroDivisionError

    @app.route("/cookies")
    def cookies():
        count = int(bottle.request.get_cookie("count", "0")) + 1
        bottle.response.set_cookie("count", f"{count}", httponly=True)
        bottle.response.set_cookie("other", "a b")
        return f"{count}"

    @app.route("/file")
    def file():
        return bottle.static_file(os.path.basename(__file__),
                                  os.path.dirname(__file__),
                                  mimetype="text/plain")

    @app.route("/client")
    def client():
        # bottle.request believes proxies without asking who they are.
        get = bottle.request.environ.get
        return (f"{get('wsgi.url_scheme')} {get('HTTP_HOST')} "
                f"{get('REMOTE_ADDR')}")

    @app.route("/pid")
    def pid():
        return f"{os.getpid()}"

    return app


def django():
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x",
            DEBUG=False)
    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse, HttpResponse, StreamingHttpResponse
    from django.urls import path

    def hello(request):
        return HttpResponse("hello")

    def echo(request):
        return HttpResponse(request.body)

    def slow(request):
        time.sleep(0.2)
        return HttpResponse("slow")

    def stream(request):
        return StreamingHttpResponse(numbers())

    def breaks(request):
        return StreamingHttpResponse(breaking())

    def fails(request):
        raise ZeroDivisionError

    def cookies(request):
        count = int(request.COOKIES.get("count", "0")) + 1
        response = HttpResponse(f"{count}")
        response.set_cookie("count", f"{count}", httponly=True)
        response.set_cookie("other", "a b")
        return response

    def file(request):
        return FileResponse(open(__file__, "rb"), content_type="text/plain")

    def client(request):
        address = request.META["REMOTE_ADDR"]
        return HttpResponse(
            f"{request.scheme} {request.get_host()} {address}")

    def pid(request):
        return HttpResponse(f"{os.getpid()}")

    global urlpatterns
    urlpatterns = [path(view.__name__, view) for view in (
        hello, echo, slow, stream, breaks, fails, cookies, file, client, pid)]
    return get_wsgi_application()


urlpatterns = []


def websocket(environ, start_response):
    """As websocket_server does."""
    from coir.websocket import wsgi_app

    def handle(ws):
        if environ["PATH_INFO"] == "/count":
            for i in range(100):
                ws.send(str(i))
            return
        for message in ws:
            if environ["PATH_INFO"] == "/slow":
                time.sleep(0.5)
            ws.send(message)

    return wsgi_app(handle, max_message=None)(environ, start_response)
