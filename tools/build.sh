#!/usr/bin/env bash
# Builds the real control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl) into OUTDIR
# from the modules pinned in go.mod. The stamps are needed: without them the server does not report its version.
set -eu
out=$1
cd "$(dirname "$0")"
k=1.34.10
v=k8s.io/component-base/version
export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOGC=off
exec go build -p 2 -o "$out/" \
  -ldflags="-s -w -X $v.gitVersion=v$k -X $v.gitMajor=1 -X $v.gitMinor=34 -X $v.gitTreeState=clean -X $v.buildDate=1970-01-01T00:00:00Z" \
  tool ./etcd
