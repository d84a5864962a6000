#!/usr/bin/env bash
# Makes .venv-peers beside .venv: what users would pick instead, pinned, and kept apart from the product's own packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
test -x .venv-peers/bin/python || "${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/peers/requirements.txt
