#!/usr/bin/env bash
# Makes .venv with everything in it. Usage: scripts/setup.sh [EXTRA]   (extra "dev" for the tests)
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "error: $python is missing or older than 3.11. Install Python 3.11 or newer, or name it: PYTHON=python3.12 $0" >&2
    exit 1
fi

make_venv() { "$python" -m venv .venv >/dev/null 2>&1; }

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    if ! make_venv; then
        # Debian ships Python without venv
        sudo=""
        [ "$(id -u)" = 0 ] || sudo="sudo"
        if command -v apt-get >/dev/null && { [ -z "$sudo" ] || command -v sudo >/dev/null; }; then
            echo "installing python3-venv" >&2
            $sudo apt-get update -qq >&2 || true
            DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq python3-venv >&2 || true
            rm -rf .venv
        fi
        make_venv || { echo "error: $python cannot make a virtual environment. Install its venv module." >&2; exit 1; }
    fi
fi

# Nothing to do if the same requirements are installed already.
stamp=.venv/.installed-${extra:-core}
wanted=$(cat pyproject.toml constraints.txt | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "installing distillfss${extra:+[$extra]} into .venv (PyTorch among it: this can take a few minutes)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".${extra:+[$extra]}"
    echo "$wanted" >"$stamp"
fi
