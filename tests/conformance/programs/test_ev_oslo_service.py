"""A service of oslo.service with its eventlet backend."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent


class TestService(unittest.TestCase):

    def test_service(self):
        with subprocess.Popen(
                [sys.executable, "-u", str(HERE / "oslo_service_app.py")],
                stdout=subprocess.PIPE, text=True,
                env=dict(os.environ, PYTHONWARNINGS="ignore")) as process:
            self.addCleanup(process.kill)
            lines = []

            def read_until(first):
                for line in process.stdout:
                    lines.append(line.split())
                    if lines[-1][0] == first:
                        return lines[-1][-1]
                self.fail(f"ended without {first}: {lines}")

            ours = "eventlet" in os.environ.get("COIR_AS", "")
            self.assertEqual(
                "/coir/eventlet/" in read_until("eventlet"), ours)
            port = int(read_until("port"))
            socks = [socket.create_connection(("127.0.0.1", port), 10)
                     for _ in range(20)]
            for number, sock in enumerate(socks):
                sock.sendall(f"hello {number}".encode())
            for number, sock in enumerate(socks):
                self.assertEqual(sock.recv(100), f"HELLO {number}".encode())
                sock.close()
            while ["tick", "5"] not in lines or ["beats"] not in lines:
                read_until("beats" if ["tick", "5"] in lines else "tick")
            process.send_signal(signal.SIGTERM)
            read_until("stop")
            process.stdout.read()
            self.assertIn(process.wait(30), (0, 1))


if __name__ == "__main__":
    unittest.main()
