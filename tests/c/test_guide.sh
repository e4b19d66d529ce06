#!/bin/sh
# test_guide.sh ROOT LIBRARY [LIBS...] - the guides' programs print what the
# guides say, and the reference and the manual pages name all that the headers
# declare, and nothing else.
# ROOT is the source tree, LIBRARY the static library, LIBS what it needs. CC is
# the compiler.
. "$(dirname "$0")/tap.sh"

root=$1
shift
libs="$* -pthread"
pages="
    README.md
    docs/guide/coroutines-in-c.md
    docs/guide/the-event-loop.md
    docs/guide/coming-from-libev.md
    docs/guide/green-threads-in-c.md
    docs/guide/cancelling-and-deadlines.md
    docs/guide/threads-and-green-threads.md
    docs/guide/when-it-hangs.md
    docs/guide/simulation.md
    docs/guide/websockets.md
"
headers="
    base ctx stack coro loop op hub sync
    look sim net pool file dns process http http_server tls
    look sim net pool file dns process tls websocket
"

compile() {
    ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -I"$root/include" "$@" $libs
}

program() {
    compile -o "$tmp/program" "$tmp/$1.c" && \
        "$tmp/program" >"$tmp/printed" && \
        diff "$tmp/$1.expected" "$tmp/printed"
}

# Part of a program: it need only compile.
fragment() {
    { echo '#include <coir.h>'; cat "$tmp/$1.c"; } >"$tmp/fragment.c"
    ${CC:-cc} -std=gnu11 -Wall -Wextra -Werror -Wno-unused-function \
        -Wno-unused-parameter -I"$root/include" -fsyntax-only \
        "$tmp/fragment.c"
}

for page in $pages; do
    name=$(basename "$page" .md)
    # Block n of C to NAME.n.c, the text block after it to NAME.n.expected.
    awk -v to="$tmp/$name." '
        /^```c$/ { n++; out = to n ".c"; next }
        /^```text$/ { out = to n ".expected"; next }
        /^```/ { out = ""; next }
        out != "" { print > out }
    ' "$root/$page"
    n=1
    while [ -e "$tmp/$name.$n.c" ]; do
        if [ -e "$tmp/$name.$n.expected" ]; then
            check "program $n of $page prints what it says" program "$name.$n"
        else
            check "fragment $n of $page compiles" fragment "$name.$n"
        fi
        n=$((n + 1))
    done
done

# Names that a header gives to its users; some are of another one's page.
cat "$root"/docs/reference/c/*.md |
    grep -oE '\b(coir_[a-z_]+|COIR_[A-Z_]+)\b' | sort -u >"$tmp/documented"
echo coir_h >"$tmp/before" # names of the headers before, of other pages
names_of() {
    sed 's|/\*.*\*/||' "$root/include/coir/$1.h" |
        sed '/^\/\*/,/\*\//d; /^ \*/d' |
        grep -oE '\b(coir_[a-z_]+|COIR_[A-Z_]+)\b' |
        grep -vE '^COIR_(API|STATIC|WATCHER_ATTR|[A-Z_]*_H)$|^(COIR|coir)__' |
        sort -u >"$tmp/$1.names"
}
for header in $headers; do
    names_of "$header"
    comm -23 "$tmp/$header.names" "$tmp/documented" >"$tmp/missing"
    check "the reference of coir/$header.h names all of it" \
        diff /dev/null "$tmp/missing"
    sed 's/\\f[BIR]//g' "$root/docs/man/coir_$header.3" |
        grep -oE '\b(coir_[a-z_]+|COIR_[A-Z_]+)\b' | sort -u >"$tmp/in_page"
    comm -23 "$tmp/$header.names" "$tmp/in_page" |
        grep -vxFf "$tmp/before" >"$tmp/missing"
    check "coir_$header(3) names all of it" diff /dev/null "$tmp/missing"
    cat "$tmp/$header.names" >>"$tmp/before"
done


# A page's own name is no function's.
cat "$tmp"/*.names >"$tmp/in_headers"
ls "$root/docs/man" | sed 's/\..*//' >>"$tmp/in_headers"
sort -u "$tmp/in_headers" -o "$tmp/in_headers"
sed 's/\\f[BIR]//g' "$root"/docs/man/*.[0-9] | grep -oE '\bcoir_[a-z_]+\b' |
    sort -u | comm -23 - "$tmp/in_headers" | grep -v '^coir_$' >"$tmp/unknown"
check "the manual pages name nothing that is not there" \
    diff /dev/null "$tmp/unknown"

# No warning of the formatter: what it prints is no matter.
formats() {
    if command -v mandoc >/dev/null; then
        mandoc -Tlint -Wwarning "$1"
    else
        groff -man -ww -Tutf8 "$1" 2>&1 >/dev/null | diff /dev/null -
    fi
}
for page in "$root"/docs/man/*.[0-9]; do
    name="$(basename "$page") is well-formed"
    if command -v mandoc >/dev/null || command -v groff >/dev/null; then
        check "$name" formats "$page"
    else
        skip "$name" "no mandoc, no groff"
    fi
done

cat "$tmp"/*.names | sort -u >"$tmp/names"
(cd "$root" && cat docs/reference/c/*.md $pages) |
    grep -oE '\bcoir_[a-z_]+\b' | sort -u | comm -23 - "$tmp/names" |
    grep -v '^coir_$' >"$tmp/unknown"
check "the documents name nothing that is not there" \
    diff /dev/null "$tmp/unknown"
tap_done
