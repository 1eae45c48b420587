#!/bin/sh
# Serve the demo company on BACKEND_DATABASE_URL, from the workspace's root. Options go to uvicorn.
set -eu
# Known to everybody, and so of no use but on a developer's machine.
export BACKEND_TOKEN_SECRET="${BACKEND_TOKEN_SECRET:-the key of a demonstration, not of a service}"
alembic -c apps/backend/alembic.ini upgrade head
python -m backend.seed
exec uvicorn --factory backend.main:app "$@"
