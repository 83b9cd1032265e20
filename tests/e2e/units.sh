#!/usr/bin/env bash
# The systemd units: systemd can read them, the programs they name are there, and their sandboxes stay tight.
# usage: units.sh BUILD      the configured units are taken from BUILD
set -euo pipefail
build=$(cd "${1:?usage: units.sh BUILD}" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# The installed path is not there before an installation: the build's own programs stand for it.
for unit in backend/neapd.service broker-config/neap-broker.service device/neap@.service; do
  sed "s#^ExecStart=.*/\(neapd\|neap\) #ExecStart=$build/bin/\1 #; s#^User=.*#User=root#" "$build/$unit" >"$dir/${unit##*/}"
done
instance=$(systemd-escape -p --template=neap@.service /var/lib/shop/app.db)
ln -s neap@.service "$dir/$instance"

for unit in neapd.service neap-broker.service "$instance"; do
  SYSTEMD_UNIT_PATH=$dir: systemd-analyze verify --man=no "$dir/$unit"
  # Of 100, 0 is the tightest; systemd calls anything below 50 "ok" and below 20 "safe".
  limit=20
  [[ $unit != neap@* ]] || limit=35 # it writes where its user's databases are
  grep -v '^User=' "$dir/${unit/var-lib-shop-app.db/}" | sed 's/^\[Service\]$/&\nUser=somebody/' >"$dir/judged.service"
  systemd-analyze security --offline=yes --no-pager --threshold=$limit "$dir/judged.service" | tail -n 1
done
