"""paramiko's client and its server, both of greenlets, in one process."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import socket  # noqa: E402
import tempfile  # noqa: E402
import unittest  # noqa: E402

import gevent  # noqa: E402
import gevent.server  # noqa: E402
import paramiko  # noqa: E402
from helper import others_go_on, together  # noqa: E402

KEY = paramiko.ECDSAKey.generate()


class Shell(paramiko.ServerInterface):
    """Knows `echo TEXT`, `sleep SECONDS` and `cat`."""

    def check_auth_password(self, username, password):
        return (paramiko.AUTH_SUCCESSFUL if password == "secret"
                else paramiko.AUTH_FAILED)

    def get_allowed_auths(self, username):
        return "password"

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        gevent.spawn(self.execute, channel, command.decode().split())
        return True

    def execute(self, channel, command):
        match command:
            case ["echo", text]:
                channel.sendall(text.encode())
            case ["sleep", seconds]:
                gevent.sleep(float(seconds))
            case ["cat"]:
                while data := channel.recv(50000):
                    channel.sendall(data)
            case _:
                channel.sendall_stderr(b"unknown")
        channel.send_exit_status(0 if command[0] != "fail" else 3)
        channel.close()


class File(paramiko.SFTPHandle):

    def stat(self):
        return paramiko.SFTPAttributes.from_stat(
            os.fstat(self.readfile.fileno()))


class Files(paramiko.SFTPServerInterface):
    """Files below the root directory, to be read and written."""

    root = ""

    def open(self, path, flags, attr):
        handle = File(flags)
        mode = "r+b" if flags & os.O_WRONLY or flags & os.O_RDWR else "rb"
        name = os.path.join(self.root, path.lstrip("/"))
        if flags & os.O_CREAT:
            open(name, "ab").close()
        file = open(name, mode)
        handle.readfile = handle.writefile = file
        return handle

    def stat(self, path):
        name = os.path.join(self.root, path.lstrip("/"))
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(name))
        except OSError as exc:
            return paramiko.SFTPServer.convert_errno(exc.errno)

    lstat = stat


def serve(sock, address):
    transport = paramiko.Transport(sock)
    transport.add_server_key(KEY)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    transport.start_server(server=Shell())
    transport.join()


class TestParamiko(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        Files.root = directory.name
        cls.server = gevent.server.StreamServer(("127.0.0.1", 0), serve)
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def connect(self, password="secret"):
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect("127.0.0.1", self.server.server_port, "me", password,
                       allow_agent=False, look_for_keys=False, timeout=20)
        self.addCleanup(client.close)
        return client

    def test_command(self):
        _, out, _ = self.connect().exec_command("echo hello")
        self.assertEqual(out.read(), b"hello")
        self.assertEqual(out.channel.recv_exit_status(), 0)

    def test_exit_status(self):
        _, out, err = self.connect().exec_command("fail")
        self.assertEqual(err.read(), b"unknown")
        self.assertEqual(out.channel.recv_exit_status(), 3)

    def test_wrong_password(self):
        with self.assertRaises(paramiko.AuthenticationException):
            self.connect("wrong")

    def test_many_channels(self):
        client = self.connect()

        def run(i):
            _, out, _ = client.exec_command("sleep 0.5")
            return out.channel.recv_exit_status()

        with others_go_on(10):
            self.assertEqual(together(run, range(10), 6), [0] * 10)

    def test_many_connections(self):
        def run(i):
            _, out, _ = self.connect().exec_command(f"echo {i}")
            return int(out.read())

        self.assertEqual(together(run, range(8), 40), list(range(8)))

    def test_large_data_both_ways(self):
        data = os.urandom(1 << 20)
        stdin, out, _ = self.connect().exec_command("cat")

        def send():
            stdin.write(data)
            stdin.channel.shutdown_write()

        sender = gevent.spawn(send)
        self.assertEqual(out.read(), data)
        sender.get()

    def test_timeout(self):
        _, out, _ = self.connect().exec_command("sleep 5", timeout=0.3)
        with self.assertRaises(socket.timeout):
            out.read()

    def test_sftp(self):
        data = os.urandom(1 << 20)
        with self.connect().open_sftp() as sftp:
            with sftp.open("file", "wb") as file:
                file.write(data)
            self.assertEqual(sftp.stat("file").st_size, len(data))
            with sftp.open("file", "rb") as file:
                file.prefetch()
                self.assertEqual(file.read(), data)


if __name__ == "__main__":
    unittest.main()
