"""Flask-SocketIO in its eventlet mode; its port is the argument."""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402

from flask import Flask  # noqa: E402
from flask_socketio import SocketIO, emit  # noqa: E402

app = Flask(__name__)
socketio = SocketIO(app, async_mode="eventlet")


@app.route("/")
def index():
    return eventlet.__file__


@socketio.on("upper")
def upper(data):
    emit("answer", data.upper())


@socketio.on("later")
def later(seconds):
    eventlet.sleep(seconds)
    return "done"


@socketio.on("count")
def count(number):
    def send():
        for i in range(number):
            socketio.emit("number", i)
            socketio.sleep(0.01)

    socketio.start_background_task(send)


if __name__ == "__main__":
    socketio.run(app, host="127.0.0.1", port=int(sys.argv[1]))
