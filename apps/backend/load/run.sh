#!/bin/sh
# Serve the demo company, load it, and stop it again; the exit status is locust's.
set -eu
port="${LOAD_PORT:-8123}"
sh apps/backend/serve.sh --port "$port" --log-level warning &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" || true' EXIT
# locust waits for /health itself, and gives up after a minute.
# Isolated: locust brings gevent, which nothing else here should meet.
uv run --isolated --only-group load locust --headless --locustfile apps/backend/load/locustfile.py \
    --host "http://127.0.0.1:$port" --users "${LOAD_USERS:-10}" --spawn-rate 5 \
    --run-time "${LOAD_TIME:-30s}" --stop-timeout 10 --only-summary
