#!/usr/bin/env bash
# fuzz.sh TARGET MINUTES - fuzz fuzz/TARGET.c with libFuzzer, in JOBS processes
# on one corpus, which stays in the cache directory. Ends at the first finding:
# an input that fails a check or that a sanitizer objects to.
source "$(dirname "$0")/lib.sh"

target=$1 minutes=$2
[ -e "fuzz/$target.c" ] || die "no such target: $target; there are: $(
    cd fuzz && echo *.c | sed 's/harness\.c *//; s/\.c//g')"
need clang clang "clang, for its libFuzzer"
tools_venv

dir=build/fuzz program=build/fuzz/fuzz/fuzz_$target
say "Building $program"
CC=clang configure $dir -Dfuzz=enabled -Dtests=disabled -Dvalgrind=disabled ||
    die "libFuzzer not found: install Debian package libclang-rt-dev"
quietly meson compile -C $dir -j "$JOBS" "fuzz_$target"

corpus=$CACHE/fuzz/$target/corpus findings=$CACHE/fuzz/$target/findings
logs=$dir/logs/$target
mkdir -p "$corpus" "$findings"
rm -rf $logs
mkdir -p $logs
TMPDIR=$(mktemp -d)
export TMPDIR
export UBSAN_OPTIONS=print_stacktrace=1
options=(-max_total_time=$((minutes * 60)) -max_len=2000 -len_control=20
         -timeout=20 -artifact_prefix="$findings/" -print_final_stats=1)
# One for the targets that begin alike: http.dict for http_chunked, too.
[ ! -e "fuzz/${target%%_*}.dict" ] || options+=(-dict="fuzz/${target%%_*}.dict")

# Runs of all processes, and coverage, from the last line of each log that
# tells; "edges" are those of the program's flow, "features" finer.
figures() {
    for log in $logs/*; do
        grep -ao '^#[0-9]*.*cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1
    done | awk '{ runs += substr($1, 2)
            for (i = 2; i < NF; i++) {
                if ($i == "cov:" && $(i + 1) > edges) edges = $(i + 1)
                if ($i == "ft:" && $(i + 1) > features) features = $(i + 1)
            } }
        END { printf "%d runs, coverage %d edges, %d features", runs, edges,
              features }'
}

say "Fuzzing $target for $minutes minutes in $JOBS processes"
start=$SECONDS pids=()
for job in $(seq "$JOBS"); do
    "$program" "${options[@]}" "$corpus" >"$logs/$job" 2>&1 &
    pids+=($!)
done
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$TMPDIR"' EXIT
failed=
while [ -z "$failed" ] && [ ${#pids[@]} -gt 0 ]; do
    for n in 1 2 3 4 5 6 7 8 9 10; do
        sleep 3
        for i in "${!pids[@]}"; do
            kill -0 "${pids[i]}" 2>/dev/null && continue
            wait "${pids[i]}" || failed=1
            unset "pids[i]"
        done
        [ -z "$failed" ] && [ ${#pids[@]} -gt 0 ] || break
    done
    printf '    %3d:%02d  %s, %d inputs\n' $(((SECONDS - start) / 60)) \
        $(((SECONDS - start) % 60)) "$(figures)" "$(ls "$corpus" | wc -l)"
done
[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null || true
wait

found=0
for log in $logs/*; do
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    [ -n "$input" ] || continue
    found=$((found + 1))
    say "Finding $found"
    grep -av '^#[0-9]\|^NEW_FUNC\|^	' "$log" | tail -n 40
    printf '    Replay: COIR_TEST_TRACE=1 %s %s\n' "$program" "$input"
done
[ -z "$failed" ] || [ $found -gt 0 ] || die "a process failed: see $logs"
say "Result"
printf '%s: %s, %d findings in %d:%02d minutes\n' "$target" "$(figures)" \
    $found $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60))
[ $found = 0 ]
