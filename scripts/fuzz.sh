#!/usr/bin/env bash
# Runs the fuzz targets one after another, each for a time, from the committed corpora: docs/fuzzing.md.
#
#   scripts/fuzz.sh SECONDS [TARGET...]    TARGET is CRATE/NAME, such as stx-layout/path; all of them if none is named
#
# New inputs are left in target/fuzz/corpus, those that fail in target/fuzz/artifacts, the output of each target in
# target/fuzz/logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The sanitizer and the coverage counters are unstable options of rustc; this makes the stable compiler accept them.
export RUSTC_BOOTSTRAP=1
# A fuzzer keeps freed memory for a while to find uses after free; keep little, so that the limit below applies to the program.
export ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
# Use memory if this directory exists: some readers open files.
[ -d /dev/shm ] && export TMPDIR=/dev/shm

seconds=${1:?usage: scripts/fuzz.sh SECONDS [CRATE/TARGET...]}
shift
if [ $# -eq 0 ]; then
    for source in */fuzz/fuzz_targets/*.rs; do
        name=$(basename "$source" .rs)
        set -- "$@" "${source%%/*}/$name"
    done
fi

out=$PWD/target/fuzz
failed=()
for target in "$@"; do
    crate=${target%/*} name=${target#*/}
    corpus=$out/corpus/$crate/$name artifacts=$out/artifacts/$crate/$name log=$out/logs/$crate-$name.log
    mkdir -p "$corpus" "$artifacts" "$out/logs"
    options=(-max_total_time="$seconds" -max_len=65536 -timeout=5 -rss_limit_mb=512 -malloc_limit_mb=256
        -print_final_stats=1 -artifact_prefix="$artifacts/")
    words=$crate/fuzz/dictionaries/$name
    if [ -f "$words" ]; then options+=(-dict="$words"); fi
    echo "$target: $seconds s"
    cargo fuzz run --fuzz-dir "$crate/fuzz" --target-dir "$out/build" "$name" \
        "$corpus" "$crate/fuzz/corpus/$name" -- "${options[@]}" >"$log" 2>&1 || failed+=("$target")
    grep -E '^(Done|stat::|SUMMARY:|==.*ERROR)' "$log" || true
done
[ ${#failed[@]} -eq 0 ] || {
    echo "failed: ${failed[*]}; see target/fuzz/logs and target/fuzz/artifacts" >&2
    exit 1
}
