#!/usr/bin/env bash
# A fleet against a private stack: every set is acknowledged, every row is in the store exactly once.
# usage: NEAP_BUILD=… tests/e2e/fleet.sh [devices] [users] [sets] [rows] [hold seconds]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
devices=${1:-100} users=${2:-5} sets=${3:-10} rows=${4:-100} hold=${5:-0}
dir=$(mktemp -d "${TMPDIR:-/tmp}/neap-fleet.XXXXXX")
finish() {
  local rc=$?
  trap - EXIT
  [[ $rc -eq 0 ]] || tail -n 20 "$dir"/stack/*.log >&2 || true
  "$root/scripts/stack" stop "$dir/stack" || true
  rm -rf "$dir"
  exit "$rc"
}
trap finish EXIT
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true

"$root/scripts/stack" start "$dir/stack"
# shellcheck disable=SC1091
source "$dir/stack/env"
(umask 077; echo 'a long enough password' >"$dir/password")
for ((i = 0; i < users; i++)); do
  "$NEAP_BIN/neapd" user add "fleet-$i" --password-file "$dir/password" --config "$NEAP_CONFIG" >/dev/null
done
"$NEAP_BIN/../test/neap_fleet" --server "$NEAP_SERVER" --ca "$NEAP_CA" --broker-ca "$dir/stack/ca/broker.pem" \
  --mqtt-port "$NEAP_MQTT_PORT" --password-file "$dir/password" \
  --users "$users" --devices "$devices" --sets "$sets" --rows "$rows" --hold "$hold" --timeout 240
stored=$(sqlite3 -batch -cmd '.timeout 5000' "$NEAP_STORE" \
  "SELECT count(*) || ' ' || count(DISTINCT user_id || '/' || device_id || '/' || id) FROM fleet_readings")
wanted=$((devices * sets * rows))
echo "stored      $stored (wanted $wanted $wanted)"
[[ $stored == "$wanted $wanted" ]]
