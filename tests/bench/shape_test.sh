#!/usr/bin/env bash
# The benchmark at its smallest: it runs through, and prints every key of docs/performance.md's table. Judges no times.
# usage: tests/bench/shape_test.sh BUILD
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$1/bin/neap_bench" --rows 1000 --devices 4 --repeats 1 --json >"$out"
python3 - "$out" "$root/docs/performance.md" <<'PYTHON'
import json, re, sys

said = json.load(open(sys.argv[1]))
keys = re.findall(r"^\| `(\w+)` \|", open(sys.argv[2]).read(), re.M)
assert len(keys) > 20, "docs/performance.md has no table of keys"
for key in keys:
    low, middle, high = (said[key + end] for end in ("_min", "", "_max"))
    assert 0 <= low <= middle <= high, f"{key}: {low} {middle} {high}"
assert said["machine"] and said["rows"] == 1000
known = {k for k in said if k + "_min" in said}
assert known == set(keys), f"not in docs/performance.md: {known - set(keys)}"
PYTHON
if "$1/bin/neap_bench" --only nothing 2>"$out"; then exit 1; fi
grep -q '"nothing"' "$out"
