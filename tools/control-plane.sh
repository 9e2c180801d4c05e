#!/usr/bin/env bash
# Finds or builds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, and links them into build/bin.
# Each is looked up alone: KUBEBUILDER_ASSETS, PATH, the cache; a wrong minor version counts as not found.
# --print-dir: only prints the folder with the links (and fails when one is missing).
set -eu
cd "$(dirname "$0")"
root=$(cd .. && pwd)
links=$root/build/bin
names=(etcd kube-apiserver kube-controller-manager kube-scheduler kubectl)
kubernetes=1.34.10
etcd=3.6.8

if [ "${1:-}" = --print-dir ]; then
  for name in "${names[@]}"; do
    [ -x "$links/$name" ] || { echo "$name is missing: run tools/control-plane.sh" >&2; exit 1; }
  done
  echo "$links"
  exit 0
fi

sum=$({ cat go.mod go.sum build.sh etcd/main.go; go env GOVERSION 2>/dev/null || true; } | sha256sum | cut -c1-12)
key=k8s$kubernetes-etcd$etcd-$(uname -s | tr A-Z a-z)-$(uname -m)-$sum
cache=${XDG_CACHE_HOME:-$HOME/.cache}/stentor/bin/$key

minor() { # minor VERSION → 1.34
  sed -E 's/^v?([0-9]+\.[0-9]+).*/\1/' <<<"$1"
}

right_version() { # right_version NAME FILE: prints the version when its minor is the wanted one
  local text version wanted=$kubernetes
  case $1 in
    kubectl) text=$("$2" version --client 2>/dev/null) || return 1 ;;
    *) text=$("$2" --version 2>/dev/null) || return 1 ;;
  esac
  [ "$1" != etcd ] || wanted=$etcd
  version=$(grep -oE 'v?[0-9]+\.[0-9]+\.[0-9]+' <<<"$text" | head -1)
  [ "$(minor "$version")" = "$(minor "$wanted")" ] && echo "$version"
}

find_one() { # find_one NAME: prints "FILE VERSION"
  local file version candidates=()
  [ -z "${KUBEBUILDER_ASSETS:-}" ] || candidates+=("$KUBEBUILDER_ASSETS/$1")
  file=$(PATH=${PATH//$links:/} command -v "$1" 2>/dev/null || true)
  [ -z "$file" ] || candidates+=("$file")
  candidates+=("$cache/$1")
  for file in "${candidates[@]}"; do
    if [ -x "$file" ] && version=$(right_version "$1" "$file"); then
      echo "$file $version"
      return 0
    fi
  done
  return 1
}

link_all() { # links what is found; false when one is missing
  local name found missing=0
  mkdir -p "$links"
  for name in "${names[@]}"; do
    if found=$(find_one "$name"); then
      ln -sfn "${found% *}" "$links/$name"
      [ -n "${quiet:-}" ] || echo "$name ${found##* } from ${found% *}"
    else
      missing=1
    fi
  done
  return $missing
}

build_into_cache() {
  local work started pid
  command -v go >/dev/null || { echo "Go is needed to build Kubernetes from its modules, and was not found on PATH" >&2; exit 1; }
  echo "building Kubernetes $kubernetes from source, about 5 minutes, once"
  work=$(mktemp -d "$cache.build.XXXXXX")
  started=$SECONDS
  ./build.sh "$work" >"$work.log" 2>&1 &
  pid=$!
  trap 'kill $pid 2>/dev/null; rm -rf "$work" "$work.log"' EXIT
  while kill -0 $pid 2>/dev/null; do
    for _ in $(seq 15); do kill -0 $pid 2>/dev/null && sleep 1; done
    printf '  %d:%02d building (%s of %d programs linked)\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)) \
      "$(find "$work" -type f | wc -l)" ${#names[@]}
  done
  wait $pid || { tail -20 "$work.log" >&2; echo "the build failed" >&2; exit 1; }
  for name in "${names[@]}"; do
    right_version "$name" "$work/$name" >/dev/null || { echo "$name was built but does not report its version" >&2; exit 1; }
  done
  rm -rf "$cache"
  chmod 755 "$work"
  mv "$work" "$cache"
  rm -f "$work.log"
  trap - EXIT
}

quiet=1 link_all && { quiet='' link_all; exit 0; }
mkdir -p "$(dirname "$cache")"
exec 9>"$cache.lock"
flock -n 9 || { echo "another process is building the control plane; waiting for it"; flock 9; }
quiet=1 link_all || build_into_cache
link_all || { echo "the control plane could not be put together" >&2; exit 1; }
