"""The process that owns one embedded server: starts it, logs for it, stops it when nobody needs it.

Run as a script, without the rest of the package, so that it starts in milliseconds and weighs
little. Its standard output is a pipe to whoever started it: `ready`, or what went wrong.

Who uses the server holds a shared lock on the lease file. The watchdog waits for the exclusive
lock: the kernel grants it when the last user is gone, however it went. Newcomers then wait for the
lock until this process is gone too, and start the next one.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

READY = b"database system is ready to accept connections"
LOG_LIMIT = 10_000_000
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Let the kernel stop the server at once should this process be killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def stop_when_unused(leases: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until no lease is held, then stop the server without waiting for its clients."""
    fcntl.flock(leases, fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)


def main() -> int:
    """Run the server that the JSON on standard input describes until nobody holds a lease."""
    order = json.load(sys.stdin)
    leases = os.open(order["leases"], os.O_RDWR)
    try:
        server = subprocess.Popen(  # the command is db-testing's own
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=order["environment"],
            preexec_fn=die_with_parent,  # noqa: PLW1509  # no thread has been started yet
            **order["identity"],
        )
    except OSError as error:
        print(error, flush=True)  # noqa: T201  # standard output is the pipe to the starter
        return 1

    recent: list[str] = []
    announced = False
    with Path(order["log"]).open("wb") as log:
        assert server.stderr is not None  # noqa: S101  # asked for above
        # Ends when the last process of the server has gone.
        for line in server.stderr:
            if log.tell() < LOG_LIMIT:
                log.write(line)
                log.flush()
            if announced:
                continue
            recent = [*recent[-20:], line.decode(errors="replace").rstrip()]
            if READY in line:
                announced = True
                print("ready", flush=True)  # noqa: T201
                # Nobody reads the pipe after this; the starter may be gone.
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                threading.Thread(
                    target=stop_when_unused, args=(leases, server), daemon=True
                ).start()
    server.wait()
    if not announced:
        print("\n".join(recent), flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
