"""The process that owns one embedded server: starts it, logs for it, stops it when nobody needs it.

Run as a script, without the rest of the package, so that it starts in milliseconds and weighs
little. Its standard output is a pipe to whoever started it: `ready`, or what went wrong.

Who uses the server holds a shared lock on the lease file. The watchdog waits for the exclusive
lock: the kernel grants it when the last user is gone, however it went. Newcomers then wait for the
lock until this process is gone too, and start the next one. Where the file says for how many
seconds the server is to be kept alive, the lock is given back for as long, to whoever comes. Where
somebody has asked for the server to stay, it is given back for good: who stops it asks the server.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

READY = b"database system is ready to accept connections"
LOG_LIMIT = 10_000_000
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:  # pragma: no cover  # after the fork nothing is measured
    """Let the kernel stop the server at once should this process be killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def stop_when_unused(leases: int, stays: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until no lease is held, then stop the server without waiting for its clients."""
    fcntl.flock(leases, fcntl.LOCK_EX)
    while not stays.exists():
        kept = kept_alive(leases)
        if kept <= 0:
            server.send_signal(signal.SIGINT)
            return
        before = os.fstat(leases).st_mtime_ns  # whoever takes a lease writes there
        fcntl.flock(leases, fcntl.LOCK_UN)
        time.sleep(kept)  # that is what was asked for
        fcntl.flock(leases, fcntl.LOCK_EX)
        if os.fstat(leases).st_mtime_ns == before:
            server.send_signal(signal.SIGINT)
            return
    fcntl.flock(leases, fcntl.LOCK_UN)


def kept_alive(leases: int) -> float:
    """Return for how many seconds the last one who took a lease wants the server kept."""
    try:
        return float(os.pread(leases, 32, 0))
    except ValueError:
        return 0


def tell(answer: str) -> None:
    """Answer the process that started this one, which may be gone, and fall silent."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, answer.encode(errors="replace") + b"\n")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def main() -> int:
    """Run the server that the JSON on standard input describes until nobody holds a lease."""
    order = json.load(sys.stdin)
    leases = os.open(order["leases"], os.O_RDWR)
    try:
        server = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=order["environment"],
            preexec_fn=die_with_parent,  # noqa: PLW1509  # no thread has been started yet
            pass_fds=[order["running"]],  # a lock: as long as it is held, the server is not gone
            **order["identity"],
        )
    except OSError as error:
        tell(str(error))
        return 1
    signal.signal(signal.SIGTERM, lambda *_: server.send_signal(signal.SIGINT))

    recent: list[str] = []
    announced = False
    with Path(order["log"]).open("wb", buffering=0) as log:
        assert server.stderr is not None  # noqa: S101  # asked for above
        # Ends when the last process of the server has gone.
        for line in server.stderr:
            if log.tell() < LOG_LIMIT:
                with contextlib.suppress(OSError):  # a full file system ends no server
                    log.write(line)
            if announced:
                continue
            recent = [*recent[-20:], line.decode(errors="replace").rstrip()]
            if READY in line:
                announced = True
                tell("ready")
                threading.Thread(
                    target=stop_when_unused,
                    args=(leases, Path(order["stays"]), server),
                    daemon=True,
                ).start()
    server.wait()
    if not announced:
        tell("\n".join(recent))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
