"""coir.http.Server over TLS."""

import contextlib
import os
import ssl
import subprocess

import coir.gevent as gevent
import pytest
from coir.gevent import ssl as green_ssl
from http_helper import (
    GET,
    GET_CLOSE,
    UPGRADE,
    connect,
    echo,
    hello,
    post,
    read_all,
    reset,
    response,
    serving,
    skip_head,
    until,
    upgraded,
    wrapped,
)

# --- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        "-nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    try:
        subprocess.run(
            [*command.split(), "-keyout", path, "-out", f"{path}.crt"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl program")
    with open(path, "ab") as file, open(f"{path}.crt", "rb") as crt:
        file.write(crt.read())
    return str(path)


@contextlib.contextmanager
def tls(app, certificate, **options):
    """A server, and what makes a TLS connection to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["http/1.1"])

    def connect_tls(**kwargs):
        context = green_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificate)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if "version" in kwargs:
            context.maximum_version = kwargs["version"]
        return context.wrap_socket(
            connect(server), server_hostname="localhost"
        )

    with serving(app, ssl_context=context, **options) as server:
        yield server, connect_tls


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls(certificate, version):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        return echo(environ, start_response)

    with tls(app, certificate) as (server, connect_tls):
        with connect_tls(version=ssl.TLSVersion[version]) as s:
            assert s.selected_alpn_protocol() == "http/1.1"
            for size in 0, 10, 100_000, 3_000_000:
                body = os.urandom(size)
                sender = gevent.spawn(s.sendall, post(body))
                assert response(s).read() == body
                sender.get()
        assert server.errors == []
        assert server.urls[0].startswith("https://")
    assert seen[0]["wsgi.url_scheme"] == "https"
    assert seen[0]["HTTPS"] == "on"
    assert seen[0]["coir.ssl_object"].selected_alpn_protocol() == "http/1.1"


def test_tls_pipelining_and_close(certificate):
    with tls(hello, certificate) as (server, connect_tls):
        with connect_tls() as s:
            s.sendall(GET * 9 + GET_CLOSE)
            data = read_all(s)
            assert data.count(b"hello") == 10


def test_tls_file(certificate, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(500_000))
    app = wrapped(lambda: open(file, "rb"))
    with tls(app, certificate) as (server, connect_tls), connect_tls() as s:
        for _ in range(2):
            s.sendall(GET)
            assert response(s).read() == file.read_bytes()


def test_tls_silence_and_nonsense(certificate):
    """Who does not shake hands holds nobody up, and does not stay."""
    with tls(hello, certificate, handshake_timeout=0.1) as (
        server,
        connect_tls,
    ):
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(connect(server)) for _ in range(50)]
            half = stack.enter_context(connect(server))
            half.sendall(b"\x16\x03\x01\x02\x00\x01")
            plain = stack.enter_context(connect(server))
            plain.sendall(GET)
            with connect_tls() as s:
                s.sendall(GET)
                assert response(s).read() == b"hello"
            read_all(plain)
            for s in [*silent, half]:
                with contextlib.suppress(ConnectionResetError):
                    assert read_all(s) == b""
        counters = server.counters()
        assert counters["handshake_timeouts"] == 51
        assert counters["handshake_errors"] == 1
        assert counters["requests"] == 1


def test_tls_upgrade(certificate):
    def handle(stream):
        while data := stream.recv(100_000):
            stream.sendall(data.upper())

    with tls(upgraded(handle), certificate) as (server, connect_tls):
        with connect_tls() as s:
            s.sendall(UPGRADE)
            skip_head(s)
            for size in 1, 50_000:
                s.sendall(b"x" * size)
                got = b""
                while len(got) < size:
                    got += s.recv(100_000)
                assert got == b"X" * size
        assert server.errors == []


def test_tls_reset_at_every_stage(certificate):
    with tls(echo, certificate) as (server, connect_tls):
        for data in b"", GET[:10], post(b"abc", 10), GET * 20:
            s = connect_tls()
            s.sendall(data)
            reset(s)
        with connect_tls() as s:
            s.sendall(GET)
            assert response(s).status == 200
        until(lambda: server.counters()["connections"] == 0)
        assert server.errors == []
