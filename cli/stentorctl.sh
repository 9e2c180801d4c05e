#!/bin/sh
# Runs stentorctl, or the cilium shim when called by that name, with the checkout's own Node.
self=$(readlink -f "$0")
root=$(dirname "$(dirname "$self")")
case $(basename "$0") in
  cilium | cilium-dbg) program=cilium ;;
  *) program=stentorctl ;;
esac
node=$root/node_modules/.bin/node
[ -x "$node" ] || node=$(command -v node) || { echo "$program: there is no Node; run \`make build\` in $root" >&2; exit 3; }
[ -r "$root/dist/cli/$program.js" ] || { echo "$program is not built; run \`make build\` in $root" >&2; exit 3; }
exec "$node" --disable-warning=ExperimentalWarning "$root/dist/cli/$program.js" "$@"
