#!/bin/sh
# second_user.sh SOURCE: scripts/run for a user who may not write in the tree, as in a group's shared folder. The tree is a
# copy with a program that is a script of one line; packages are those of a made-up dpkg-query.
set -eu
source=$1
tree=$(mktemp -d)
trap 'chmod -R u+w "$tree"; rm -rf "$tree"' EXIT
fail() { echo "second_user.sh: $*" >&2; exit 1; }

mkdir -p "$tree/t/core" "$tree/t/bindings" "$tree/t/build" "$tree/bin" "$tree/own"
cp -R "$source/scripts" "$tree/t/scripts"
cp "$source/CMakeLists.txt" "$tree/t/CMakeLists.txt"
echo 'int x;' >"$tree/t/core/x.c"
printf '#!/bin/sh\necho "ran $*"\n' | tee "$tree/t/build/lipwb" >"$tree/own/lipwb"
printf '#!/bin/sh\n[ "$MISSING" = "$4" ] || echo installed\n' >"$tree/bin/dpkg-query"
printf '#!/bin/sh\necho "apt-get was called" >&2; exit 1\n' >"$tree/bin/apt-get"
cp "$tree/bin/apt-get" "$tree/bin/sudo"
chmod -R a+rX "$tree"
chmod 755 "$tree" "$tree/t/build/lipwb" "$tree/own/lipwb" "$tree"/bin/*
find "$tree/t" -exec touch -d '2 hours ago' {} +
touch -d '1 hour ago' "$tree/t/build/.built-lipwb" "$tree/own/.built-lipwb"

# Runs scripts/run as the other user: what it prints in out, what it says in said, its status in status.
if [ "$(id -u)" != 0 ]; then
  other() { "$@"; }
elif command -v setpriv >/dev/null; then
  other() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
else
  echo "second_user.sh: skipped: root, and no setpriv to become somebody else" >&2
  exit 77
fi
try() {
  chmod -R a-w "$tree/t"
  status=0
  out=$(PATH="$tree/bin:$PATH" MISSING="${missing:-}" other "$tree/t/scripts/run" hello 2>"$tree/said") || status=$?
  said=$(cat "$tree/said")
  chmod -R u+w "$tree/t"
}
if [ "$(id -u)" = 0 ]; then
  other test ! -w "$tree/t" || { echo "second_user.sh: skipped: nobody may write everywhere here" >&2; exit 77; }
fi

# built, and nothing has changed since; packages were never looked up by the first user
try
[ "$status" = 0 ] && [ "$out" = "ran hello" ] || fail "fresh: $status, $out, $said"
[ -z "$said" ] || fail "fresh: it says $said"

# a stamp older than dpkg's last change
touch -d '2000-01-01' "$tree/t/.deps-ok"
try
[ "$status" = 0 ] && [ "$out" = "ran hello" ] || fail "old stamp: $status, $out, $said"
missing=gnuplot-nox
try
[ "$status" = 0 ] && [ "$out" = "ran hello" ] || fail "missing package: $status, $out, $said"
case $said in *"not installed: gnuplot-nox"*) ;; *) fail "missing package: it says $said" ;; esac
missing=

# sources that are newer
touch "$tree/t/core/x.c"
try
[ "$status" = 0 ] && [ "$out" = "ran hello" ] || fail "newer sources: $status, $out, $said"
case $said in *"as it is: sources have changed"*) ;; *) fail "newer sources: it says $said" ;; esac

# a build folder of one's own, beside a stamp of somebody else
touch -d '2 hours ago' "$tree/t/core/x.c"
if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$tree/own"; fi
LIPWB_BUILD=$tree/own
export LIPWB_BUILD
try
[ "$status" = 0 ] && [ "$out" = "ran hello" ] || fail "own build folder: $status, $out, $said"
case $said in *"looked up again"*) ;; *) fail "own build folder: it says $said" ;; esac
unset LIPWB_BUILD

# nothing built: no program, and why
rm "$tree/t/build/lipwb"
try
[ "$status" != 0 ] || fail "nothing built: it ends well: $out"
case $said in *"LIPWB_BUILD=FOLDER"*) ;; *) fail "nothing built: it says $said" ;; esac

# who may write still builds and installs: the made-up apt-get is called
missing=cmake
said=$(PATH="$tree/bin:$PATH" MISSING=$missing "$tree/t/scripts/run" hello 2>&1) && fail "apt-get: it ends well"
case $said in *"apt-get was called"*) ;; *) fail "apt-get: it says $said" ;; esac
echo "second_user.sh: passed"
