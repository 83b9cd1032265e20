#!/usr/bin/env bash
# Runs the README's tutorial word for word: every ```sh block between "## Five-minute tutorial" and the next heading.
# usage: readme_tutorial.sh SOURCE_DIR
set -euo pipefail
cd "${1:?usage: readme_tutorial.sh SOURCE_DIR}"

script=$(mktemp)
trap 'rm -f "$script"' EXIT
awk '/^## /{inside = ($0 == "## Five-minute tutorial")} inside && /^```/{code = ($0 == "```sh"); next} inside && code' README.md >"$script"
[[ $(wc -l <"$script") -gt 20 ]] || { echo "readme_tutorial: the tutorial was not found in README.md" >&2; exit 1; }

# What the tutorial leaves running when a line of it fails is stopped here, by pid.
runner() {
  set -euo pipefail
  work= agent= BROKER_PID= NEAPD_PID=
  trap '[[ -z $agent ]] || kill "$agent" 2>/dev/null || true
        [[ -z $work || ! -d $work/stack ]] || { tail -n 20 "$work"/stack/*.log; scripts/stack stop "$work/stack"; rm -rf "$work"; }' EXIT
  set -x
  # shellcheck disable=SC1090
  source "$script"
}
(runner)
echo "readme_tutorial: ok"
