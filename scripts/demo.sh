#!/usr/bin/env bash
# Sets everything up and runs the main job on the embedded sample.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
"$here/scripts/setup.sh"
"$here/.venv/bin/distillfss" demo "$@"
echo "
(to have the distillfss command at hand: source $here/.venv/bin/activate)" >&2
