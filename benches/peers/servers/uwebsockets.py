"""uWebSockets by its binding socketify: `python uwebsockets.py PORT`. Subscribers come to /, publishers to /publish."""

import sys

from socketify import App, AppListenOptions, CompressOptions, OpCode

app = App()
QUIET = {
    "compression": CompressOptions.DISABLED,
    "max_payload_length": 1 << 20,
    "max_backpressure": 64 << 20,
    "idle_timeout": 960,
}


def subscribe(socket):
    socket.subscribe("inventory")


def publish(socket, message, opcode):
    app.publish("inventory", message, OpCode.TEXT, False)


app.ws("/", {**QUIET, "open": subscribe})
app.ws("/publish", {**QUIET, "message": publish})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda options: None)
app.run()
