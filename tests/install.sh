#!/bin/sh
# install.sh BUILD CMAKE: installs into a temporary prefix; then the program and the stock lua5.4 must both find
# everything there, with nothing from the source or the build folder.
set -eu
build=$1
cmake=${2:-cmake}
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
fail() { echo "install.sh: $*" >&2; exit 1; }

"$cmake" --install "$build" --prefix "$prefix" >"$prefix/log" || { cat "$prefix/log"; fail "cmake --install"; }
for file in bin/lipwb lib/lua/5.4/lip/core.so share/lua/5.4/lip/init.lua share/lua/5.4/lip/help.lua \
  include/lip/core/lip.h include/lip/core/net/net.h; do
  [ -f "$prefix/$file" ] || fail "$file is not installed"
done
if find "$prefix" -name '*.c' | grep -q .; then fail "sources are installed"; fi

cd "$prefix" # so that ./?.lua finds nothing
version=$("$prefix/bin/lipwb" --version | sed -n 's/^lipwb //p')
[ -n "$version" ] || fail "no version"

code='local lip = require "lip"; print(lip.version, type(lip.help), (lip.zeros(2, 3):size()))'
expected=$(printf '%s\ttable\t6' "$version")
got=$("$prefix/bin/lipwb" -e "$code")
[ "$got" = "$expected" ] || fail "lipwb printed: $got"
found=$("$prefix/bin/lipwb" -e 'print(package.searchpath("lip", package.path))')
[ "$(readlink -f "$found")" = "$(readlink -f "$prefix/share/lua/5.4/lip/init.lua")" ] || fail "lipwb uses $found"

command -v lua5.4 >/dev/null || fail "no lua5.4"
LUA_PATH="$prefix/share/lua/5.4/?.lua;$prefix/share/lua/5.4/?/init.lua;;"
LUA_CPATH="$prefix/lib/lua/5.4/?.so"
export LUA_PATH LUA_CPATH
got=$(lua5.4 -e "$code")
[ "$got" = "$expected" ] || fail "lua5.4 printed: $got"
# the module must bring no second Lua, or two of them would share one state
if command -v ldd >/dev/null && ldd "$prefix/lib/lua/5.4/lip/core.so" | grep -q liblua; then
  fail "the module links a Lua of its own"
fi

cat >use.c <<'C'
#include <stdio.h>

#include "core/lip.h"
int main(void) {
  const float w[2] = {3, -4};
  double upper;
  lip_pq pq = {LIP_PINF, LIP_PINF};
  if (lip_opnorm_upper(w, 1, 2, pq, &upper, NULL)) return 1;
  puts(lip_gemm_backend());
  return upper == 7 ? 0 : 1;
}
C
flags=$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs lip) || fail "no lip.pc"
sanitize=
if nm "$prefix/lib/liblipcore.a" 2>/dev/null | grep -q __asan_init; then sanitize=-fsanitize=address,undefined; fi
${CC:-cc} -std=c11 -Wall -Wextra -Werror $sanitize -o use use.c $flags || fail "a C program does not build against the engine"
./use >/dev/null || fail "a C program does not work with the installed engine"
echo "installed version $version works"
