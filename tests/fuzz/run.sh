#!/bin/sh
# run.sh FOLDER READER SECONDS [libFuzzer options]: runs FOLDER/fuzz_READER from the seeds in FOLDER/seeds/READER.
# Inputs that led somewhere new are kept in FOLDER/found/READER, what broke a reader in FOLDER/broken.
set -eu
folder=$1
reader=$2
seconds=$3
shift 3
seeds=$folder/seeds/$reader
found=$folder/found/$reader
[ -d "$seeds" ] || { echo "fuzz: no seeds for $reader: tests/fuzz/seeds.lua makes none" >&2; exit 1; }
mkdir -p "$found" "$folder/broken"
dict=
if [ -f "$seeds.dict" ]; then dict=-dict=$seeds.dict; fi
# Memory and time of one input count: all inputs are small, and a reader takes no more than what was read warrants.
ASAN_OPTIONS=detect_leaks=1:quarantine_size_mb=16:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
  LIPWB_THREADS=1 "$folder/fuzz_$reader" -max_total_time="$seconds" -max_len=16384 -timeout=10 \
  -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 -artifact_prefix="$folder/broken/$reader-" $dict \
  "$@" "$found" "$seeds" && exit 0
echo "fuzz: $reader broke; again, with the input that the last lines name: $folder/fuzz_$reader FILE" >&2
exit 1
