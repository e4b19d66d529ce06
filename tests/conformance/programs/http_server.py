"""A plain HTTP and HTTPS server for the programs; no green threads in it.

    http_server.py [CERTIFICATE KEY]

Prints its port.
"""

import hashlib
import http.server
import ssl
import sys
import time
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    """What the path says: see the methods."""

    protocol_version = "HTTP/1.1"
    failures = {}

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        match url.path:
            case "/hello":
                self.answer(b"hello")
            case "/slow":  # ?seconds=
                time.sleep(float(query["seconds"]))
                self.answer(b"slow")
            case "/big":  # ?size=
                self.answer(bytes(range(256)) * (int(query["size"]) // 256))
            case "/chunked":  # ?count=
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for i in range(int(query["count"])):
                    data = b"%d\n" % i
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.write(b"0\r\n\r\n")
            case "/redirect":
                self.answer(b"", 302, Location="/hello")
            case "/fails":  # ?key=&times=: 503 that often, then 200
                left = self.failures.setdefault(query["key"],
                                                int(query["times"]))
                self.failures[query["key"]] = left - 1
                self.answer(b"here", 503 if left > 0 else 200)
            case _:
                self.answer(b"", 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).hexdigest().encode())


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
