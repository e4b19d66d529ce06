"""A service on oslo.service's eventlet backend: a server, and timers.

It writes a line for each thing that happens.
"""

from oslo_service import backend

backend.init_backend(backend.BackendType.EVENTLET)

import eventlet  # noqa: E402

eventlet.monkey_patch()

import socket  # noqa: E402
import sys  # noqa: E402

from oslo_config import cfg  # noqa: E402
from oslo_service import loopingcall, periodic_task, service  # noqa: E402


def say(*words):
    print(*words, flush=True)


class Tasks(periodic_task.PeriodicTasks):

    count = 0

    @periodic_task.periodic_task(spacing=0.1, run_immediately=True)
    def tick(self, context):
        self.count += 1
        if self.count <= 5:
            say("tick", self.count)


class Service(service.Service):

    def start(self):
        super().start()
        self.tasks = Tasks(cfg.CONF)
        self.tg.add_dynamic_timer(self.run_tasks, initial_delay=0)
        self.sock = eventlet.listen(("127.0.0.1", 0))
        self.tg.add_thread(self.serve)
        self.timer = loopingcall.FixedIntervalLoopingCall(self.beat)
        self.timer.start(0.05)
        say("port", self.sock.getsockname()[1])

    def run_tasks(self):
        return self.tasks.run_periodic_tasks(None)

    def beat(self):
        self.beats = getattr(self, "beats", 0) + 1
        if self.beats == 3:
            say("beats")
            raise loopingcall.LoopingCallDone

    def serve(self):
        while True:
            conn, _ = self.sock.accept()
            self.tg.add_thread(self.answer, conn)

    def answer(self, conn):
        with conn:
            while True:
                data = conn.recv(1000)
                if not data:
                    return
                conn.sendall(data.upper())

    def stop(self, graceful=False):
        say("stop")
        super().stop(graceful)


def main():
    assert socket.socket is eventlet.green.socket.socket
    say("eventlet", eventlet.__file__)
    cfg.CONF([])
    launcher = service.launch(cfg.CONF, Service(),
                              restart_method="mutate")
    launcher.wait()
    say("end")


if __name__ == "__main__":
    sys.exit(main())
