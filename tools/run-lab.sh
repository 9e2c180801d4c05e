#!/usr/bin/env bash
# The lab's front door: demo | up | down | bench. Flags: --api=real|files --leaf=bird|frr --mode=native|tunnel.
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
if [ "${1:-}" = bench ]; then
  shift
  exec node --disable-warning=ExperimentalWarning dist/e2e/bench/main.js "$@"
fi
exec node --disable-warning=ExperimentalWarning dist/e2e/demo/main.js "$@"
