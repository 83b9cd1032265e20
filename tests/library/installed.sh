#!/usr/bin/env bash
# Installs the build into a temporary prefix, then builds and runs a program against it as a stranger would:
# pkg-config, C and C++, shared and static, also after the tree was moved. usage: installed.sh BUILD CC CXX
set -euo pipefail
build=$1 cc=$2 cxx=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/first" "$work/prefix"
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name neap.pc)")
export PKG_CONFIG_PATH
lib=$(pkg-config --variable=libdir neap)
version=$(pkg-config --modversion neap)
strict=(-Wall -Wextra -pedantic -Werror)
read -ra cflags < <(pkg-config --cflags neap)
read -ra libs < <(pkg-config --libs neap)
# Debian's curl has no complete static set: libneap.a with its requirements shared, as docs/library.md says.
read -ra static_libs < <(pkg-config --libs $(pkg-config --print-requires-private neap))

build_and_run() { # NAME compiler arguments…
  local program=$work/$1
  shift
  "$@" -o "$program"
  LD_LIBRARY_PATH=$lib "$program" "$version"
}
cp "$here/consumer.c" "$work/consumer.cc"
for standard in c99 c11; do
  build_and_run "$standard" "$cc" -std=$standard "${strict[@]}" "${cflags[@]}" "$here/consumer.c" "${libs[@]}"
done
for standard in c++11 c++17; do
  build_and_run "$standard" "$cxx" -std=$standard "${strict[@]}" "${cflags[@]}" "$work/consumer.cc" "${libs[@]}"
done
mkdir "$work/only-static"
mv "$lib/libneap.a" "$work/only-static"
build_and_run static "$cc" -std=c11 "${strict[@]}" "${cflags[@]}" "$here/consumer.c" "$work/only-static/libneap.a" "${static_libs[@]}" -lpaho-mqtt3as -lpthread -lm

# The shared one is asked for by its SONAME, the static one by nobody.
readelf -d "$work/c11" | grep -q 'NEEDED.*\[libneap\.so\.0\]'
if readelf -d "$work/static" | grep -q 'libneap'; then
  echo "installed: the static program needs the shared library" >&2
  exit 1
fi
"$work/prefix/bin/neap" --version | grep -qF "$version"
