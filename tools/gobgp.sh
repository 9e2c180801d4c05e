#!/usr/bin/env bash
# Provides build/bin/gobgpd and build/bin/gobgp: from PATH (this version only), the cache, or built from their pinned Go module.
# The cache lies in ${XDG_CACHE_HOME:-~/.cache}/stentor/bin/<key>; `--cache-dir` prints that folder and does nothing else.
set -eu
cd "$(dirname "$0")/.."
version=4.8.0
names=(gobgpd gobgp)

has_version() { [ -x "$1" ] && [ "$("$1" --version 2>/dev/null | awk '{print $NF}')" = "$version" ]; }

cache_key() {
  local sum
  sum=$({ cat tools/gobgp/go.mod tools/gobgp/go.sum; sed -n '/^build()/,/^}/p' tools/gobgp.sh; } | sha256sum | cut -c1-12)
  echo "gobgp$version-linux-$(uname -m)-$sum"
}

build() {
  local out=$1
  (cd tools/gobgp && CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' go build -p 2 -ldflags='-s -w' -o "$out/" tool)
}

fill_cache() {
  local dir=$1 work name
  mkdir -p "$(dirname "$dir")"
  exec 8>"$dir.lock"
  flock -n 8 || { echo "waiting for another build of gobgpd" >&2; flock 8; }
  if ! { has_version "$dir/gobgpd" && has_version "$dir/gobgp"; }; then
    command -v go >/dev/null || { echo "gobgpd $version is neither in PATH nor in $dir, and there is no Go to build it" >&2; exit 1; }
    echo "building gobgpd $version from source, about a minute, once" >&2
    work=$(mktemp -d "$dir.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    build "$work"
    for name in "${names[@]}"; do has_version "$work/$name" || { echo "the built $name does not report $version" >&2; exit 1; }; done
    rm -rf "$dir"
    mv "$work" "$dir"
    chmod 755 "$dir"
    trap - EXIT
  fi
  exec 8>&-
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/stentor/bin/$(cache_key)
[ "${1:-}" != --cache-dir ] || { echo "$cache"; exit 0; }

mkdir -p build/bin
for name in "${names[@]}"; do
  found=$(command -v "$name" || true)
  if [ -n "$found" ] && ! has_version "$found"; then
    echo "$found is not version $version: not used" >&2
    found=
  fi
  if [ -z "$found" ]; then
    fill_cache "$cache"
    found=$cache/$name
  fi
  ln -sfn "$found" "build/bin/$name"
  echo "$name $version: $found"
done
