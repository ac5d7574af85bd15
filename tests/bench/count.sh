#!/bin/sh
# Instructions of one training step, counted by valgrind: tests/bench/count.sh [program]
#
# Counts do not depend on the load of the machine, so a change is judged by them without noise. valgrind knows AVX2 but not
# AVX-512: BLIS chooses its haswell kernels under it, and lipwb its AVX2 code. A run of 2n steps less a run of n leaves the
# steps alone: start-up, data and weights cancel. One thread (valgrind runs one at a time, and spinning would count).
set -eu
program=${1:-$(dirname "$0")/../../build/lipwb}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/steps.lua" <<'EOF'
local name, batch, steps = ...
require "lip.core".threads(1)
local step = require "lip.bench".stepper(name, "relu", tonumber(batch))
for _ = 1, steps do step() end
EOF

# count NET BATCH STEPS: "instructions function", one per line, the total first
count() {
  valgrind --tool=callgrind --callgrind-out-file="$work/out" "$program" "$work/steps.lua" "$1" "$2" "$3" \
    >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  callgrind_annotate --threshold=100 --show-percs=no "$work/out" |
    sed -n 's/^ *\([0-9,][0-9,]*\)  *\(.*\)$/\1 \2/p' | sed 's/ \[[^]]*\]$//; s/\(@@[^ ]*\)//' |
    awk '{ gsub(",", "", $1); sub("^.*:", "", $2); sub("PROGRAM", "all", $2); sub("^0x.*", "BLIS_kernel", $2)
      print $1, $2 }'
}

for net in M S C; do
  for batch in 32 128; do
    n=4
    count $net $batch $n >"$work/once"
    count $net $batch $((2 * n)) >"$work/twice"
    echo "$net relu, batch $batch: instructions of one step"
    awk -v n=$n 'NR == FNR { once[$2] += $1; next } { twice[$2] += $1 }
      END { for (f in twice) if (twice[f] != once[f]) printf "%12.0f  %s\n", (twice[f] - once[f]) / n, f }' \
      "$work/once" "$work/twice" | sort -rn | head -11
  done
done
