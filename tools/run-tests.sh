#!/usr/bin/env bash
# Runs the suites one after another, each with its output: check, unit, kernel, end to end. Nothing is skipped silently.
# The last line is the sum: N passed, N failed, N skipped. Usage: run-tests.sh all | SUITE…
set -u
cd "$(dirname "$0")/.."
root=$PWD
node=$root/node_modules/.bin/node
export PATH="$root/node_modules/.bin:$PATH"
results=$root/build/test-results
[ "${1:-all}" != all ] || set -- check unit kernel e2e
rm -rf "$results"
mkdir -p "$results"
status=0

jest() { # jest SUITE ARGS…
  local suite=$1
  shift
  "$node" --disable-warning=ExperimentalWarning --experimental-vm-modules node_modules/jest/bin/jest.js --json --outputFile="$results/$suite.json" "$@"
}

suite() {
  case $1 in
    check) oxlint --type-aware && jest check --testPathPatterns 'dist/tools/' ;;
    unit) jest unit --maxWorkers=2 --testPathPatterns 'dist/(lib|operator|agent|cli|crds)/' --testPathIgnorePatterns kernel.test.js ;;
    kernel) jest kernel --runInBand --testPathPatterns 'kernel.test.js' ;;
    e2e) jest e2e --runInBand --testPathPatterns 'dist/e2e/' --testPathIgnorePatterns kernel.test.js ;;
    *) echo "no such suite: $1" >&2; return 2 ;;
  esac
}

for name in "$@"; do
  printf '\n==== %s\n' "$name"
  started=$SECONDS
  if suite "$name"; then verdict=passed; else verdict=FAILED; status=1; fi
  if [ ! -s "$results/$name.json" ]; then
    echo "suite $name gave no results"
    verdict=FAILED status=1
  fi
  printf '==== %s %s after %d s\n' "$name" "$verdict" $((SECONDS - started))
done

"$node" -e '
  const fs = require("node:fs");
  const [folder, ...names] = process.argv.slice(1);
  const sum = {passed: 0, failed: 0, skipped: 0};
  console.log("");
  for (const name of names) {
    const file = `${folder}/${name}.json`;
    if (!fs.existsSync(file)) { sum.failed++; console.log(`${name}: no results`); continue; }
    const r = JSON.parse(fs.readFileSync(file, "utf8"));
    // A file that cannot be loaded has no tests of its own: it counts as one that failed.
    const failed = r.numFailedTests + r.numRuntimeErrorTestSuites;
    const skipped = r.numPendingTests + r.numTodoTests;
    console.log(`${name}: ${r.numPassedTests} passed, ${failed} failed, ${skipped} skipped in ${r.testResults.length} files`);
    if (r.numTotalTests === 0) { console.log(`${name}: found no tests`); sum.failed++; }
    sum.passed += r.numPassedTests; sum.failed += failed; sum.skipped += skipped;
  }
  console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
  process.exit(sum.failed > 0 ? 1 : 0);
' "$results" "$@" || status=1
exit $status
