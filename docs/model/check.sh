#!/usr/bin/env bash
# Checks the model of the protocol with Spin: it holds within small bounds, healing always ends in equality,
# and each rule that has a switch is missed when it is taken out.
#
#   docs/model/check.sh            what CI runs: about a minute and half a gigabyte
#   docs/model/check.sh --large    larger bounds: several minutes and a few gigabytes
set -euo pipefail
model=$(cd "$(dirname "$0")" && pwd)/neap.pml
large=no
case ${1:-} in
  '') ;;
  --large) large=yes ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
command -v spin >/dev/null || { echo "model: spin is not installed: scripts/install-deps --dev" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# search MODE DEFINE…: compiles the verifier and runs it; its report is in $work/report
search() {
  local mode=$1 flags=(-DSAFETY -DNOCLAIM) run=()
  shift
  [[ $mode == safety ]] || { flags=(); run=(-a -N heals); }
  rm -rf "$work/pan" && mkdir "$work/pan" && cd "$work/pan"
  spin -a "$@" "$model" >spin.log || { cat spin.log >&2; exit 1; }
  cc -O2 -DHC4 -DNOREDUCE -DVECTORSZ=4096 "${flags[@]}" -o pan pan.c
  ./pan "${run[@]}" -m200000 >"$work/report" 2>&1 || true
  cd "$OLDPWD"
}

# holds MODE WRITES CRASHES RESTARTS RESTORES [DEFINE…]: every state within the bounds was visited and none is wrong
holds() {
  local mode=$1 bounds="-DWRITES=$2 -DCRASHES=$3 -DRESTARTS=$4 -DRESTORES=$5"
  shift 5
  # shellcheck disable=SC2086 — the bounds are words
  search "$mode" $bounds "$@"
  if ! grep -q 'errors: 0$' "$work/report" || grep -qE 'out of memory|max search depth too small' "$work/report"; then
    cat "$work/report" >&2
    echo "model: $mode fails at $bounds $*" >&2
    exit 1
  fi
  echo "model: $mode holds at $bounds $*:$(grep -oE ' [0-9]+ states, stored' "$work/report")"
}

# caught RULE RESTARTS RESTORES: without the rule a wrong state is found
caught() {
  search safety "-D$1" -DWRITES=3 -DCRASHES=0 "-DRESTARTS=$2" "-DRESTORES=$3"
  if ! grep -q 'assertion violated' "$work/report"; then
    cat "$work/report" >&2
    echo "model: $1 is not noticed" >&2
    exit 1
  fi
  echo "model: $1 is noticed:$(grep -oE ' [0-9]+ states, stored' "$work/report")"
}

holds healing 2 1 0 0
holds healing 2 0 1 0
holds healing 1 1 1 1
holds safety 3 0 0 0
if [[ $large == yes ]]; then
  holds safety 3 0 0 0 -DWARM
  holds safety 2 0 0 1
  holds healing 3 0 0 0
fi
caught NO_HOLD 0 0
caught NO_TERM 1 1
caught NO_EFFECT 0 0
caught NO_ACK_HEAD 0 0
caught NO_CLEAR_LATE 0 0
caught NO_GENERATION 0 0
caught NO_SWEEP 1 1
