#!/usr/bin/env bash
# Generates proto/gen: our wire contract, and GoBGP's messages from the .proto files of its pinned Go module. About 3 s.
set -eu
cd "$(dirname "$0")/../.."
node=$PWD/node_modules/.bin/node
pbjs=$PWD/node_modules/protobufjs-cli/bin/pbjs
flags=(-t static-module -w esm --dts --force-number --no-create --no-verify --no-delimited --no-typeurl)

gobgp_protos() {
  local dir
  dir=$(cd tools/gobgp && go list -m -f '{{.Dir}}' github.com/osrg/gobgp/v4)
  if [ -z "$dir" ]; then
    (cd tools/gobgp && go mod download github.com/osrg/gobgp/v4) >&2
    dir=$(cd tools/gobgp && go list -m -f '{{.Dir}}' github.com/osrg/gobgp/v4)
  fi
  echo "$dir/proto"
}

mkdir -p build
work=$(mktemp -d "$PWD/build/proto.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/gen"
"$node" tools/gen/gobgp-subset.ts "$(gobgp_protos)" "$work/gobgp4.json"
"$node" "$pbjs" "${flags[@]}" --no-service -r gobgp4 -o "$work/gen/gobgp4.js" "$work/gobgp4.json" &
"$node" "$pbjs" "${flags[@]}" --no-service -r session -o "$work/gen/session.js" proto/stentor/v1/session.proto
wait $!
for module in gobgp4 session; do
  # V8 keeps the source of what it has loaded, and most of it would be comments (which the .d.ts came from) and indentation.
  sed -i -E -e '/^ *\/\*\*.*\*\/$/d' -e '/^ *\/\*\*/,/\*\/$/d' -e 's/^ +//' -e '/^$/d' "$work/gen/$module.js"
  # The runtime's settings must hold before the module reads them.
  sed -i '1i import "../runtime.js";' "$work/gen/$module.js"
done
rm -rf proto/gen dist/proto/gen
mkdir -p dist/proto
cp -r "$work/gen" dist/proto/gen
mv "$work/gen" proto/gen
