#!/usr/bin/env bash
# Sets everything up and passes the tests: linter, type checker, tests.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh dev
.venv/bin/ruff check src tests benchmarks
.venv/bin/ruff format --check src tests benchmarks
.venv/bin/mypy
# file by file, so that what the tests of a file share is made once
exec .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile "$@"
