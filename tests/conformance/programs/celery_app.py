"""The application that test_celery runs a worker of."""

import os
import threading
import time

import celery

URL = f"redis://127.0.0.1:{os.environ['COIR_PROGRAMS_REDIS']}"
app = celery.Celery("celery_app", broker=f"{URL}/1", backend=f"{URL}/2")
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = True


@app.task
def sleep(seconds, value):
    time.sleep(seconds)
    return value


@app.task
def whose():
    """What a task runs on."""
    import gevent
    import greenlet

    return [gevent.__file__, type(greenlet.getcurrent()).__module__,
            threading.current_thread().name]


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.1)
    return self.request.retries


@app.task
def fail():
    raise ValueError("on purpose")


@app.task
def whose_eventlet():
    """The file of the eventlet that a worker runs on."""
    import eventlet

    return eventlet.__file__
