#!/bin/sh
# test_install.sh MESON BUILD VERSION SOURCES NAME... - installs libcoir into a
# directory of its own, then compiles and runs the examples against that, as a
# user would: flags from coir.pc, with the shared and with the static library.
# Where there is no pkg-config, coir.pc is read by hand. CC is the compiler.
. "$(dirname "$0")/tap.sh"

meson=$1
build=$2
version=$3
sources=$4
shift 4

root=$tmp/root
"$meson" install -C "$build" --no-rebuild --destdir "$root" \
    --tags devel,runtime,man >"$tmp/log" 2>&1
status=$?
if [ $status -ne 0 ]; then
    not_ok "meson install" "$tmp/log"
    tap_done
    exit 0
fi
ok "meson install"

pc=$(find "$root" -name coir.pc)
check "coir.pc is installed" test -f "$pc"

# The value of a variable or field of coir.pc, references filled in.
field() {
    sed -n "s/^$1[=:] *//p" "$pc" | sed "
        s|\${libdir}|$(sed -n 's/^libdir=//p' "$pc")|g
        s|\${includedir}|$(sed -n 's/^includedir=//p' "$pc")|g
        s|\${prefix}|$(sed -n 's/^prefix=//p' "$pc")|g"
}

libdir=$root$(field libdir)
if pkg-config --version >/dev/null 2>&1; then
    how=pkg-config
    # Ours first; the system's for what libcoir itself is linked with.
    PKG_CONFIG_LIBDIR=$(dirname "$pc"):$(pkg-config --variable pc_path \
        pkg-config)
    PKG_CONFIG_SYSROOT_DIR=$root
    export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
    installed=$(pkg-config --modversion coir)
    cflags=$(pkg-config --cflags coir)
    libs=$(pkg-config --libs coir)
    static_libs=$(pkg-config --static --libs coir)
else
    how="coir.pc by hand"
    installed=$(field Version)
    cflags=$(field Cflags | sed "s|-I|-I$root|g")
    libs=$(field Libs | sed "s|-L|-L$root|g")
    static_libs="$libs $(field Libs.private) $(field Requires.private |
        sed -n 's/.*liburing.*/-luring/p') $(field Requires.private |
        sed -n 's/.*libcares.*/-lcares/p')"
fi
static_libs=$(echo "$static_libs" | sed 's/-lcoir/-l:libcoir.a/')

check "coir.pc names version $version" test "$installed" = "$version"
# All there are, but those of an optional library of its own that is not here.
tree=$(dirname "$0")/../..
optional=tls
test -z "$(find "$root" -name 'libcoir-tls.*')" || optional=
for header in $(cd "$tree/include" && ls coir.h coir/*.h); do
    test "$header" = "coir/$optional.h" || check "$header is installed" \
        test -f "$root$(field includedir)/$header"
done
for page in $(cd "$tree/docs/man" && ls coir*.[1-9]); do
    test "$page" = "coir_$optional.3" || \
        check "the manual page $page is installed" \
        test -n "$(find "$root" -path "*/man${page##*.}/$page")"
done

# try NAME LIBS...: compile an example, run it, compare what it prints.
try() {
    name=$1
    shift
    input=$sources/$name.input
    test -e "$input" || input=/dev/null
    ${CC:-cc} -std=gnu11 -o "$tmp/$name" "$sources/$name.c" $cflags "$@" && \
        LD_LIBRARY_PATH=$libdir "$tmp/$name" <"$input" >"$tmp/printed" && \
        diff "$sources/$name.expected" "$tmp/printed"
}

for name; do
    if [ -e "$libdir/libcoir.so" ]; then
        check "$name, shared, by $how" try "$name" $libs
    else
        skip "$name, shared, by $how" "no shared library in this build"
    fi
    if [ -e "$libdir/libcoir.a" ]; then
        check "$name, static, by $how" try "$name" $static_libs
    else
        skip "$name, static, by $how" "no static library in this build"
    fi
done

# Only what the headers declare may be seen of the shared library.
if [ -e "$libdir/libcoir.so" ] && command -v nm >/dev/null; then
    nm -D --defined-only "$libdir/libcoir.so" | sed 's/.* //; s/@.*//' |
        grep -v '^coir_[a-z]' >"$tmp/foreign"
    check "the shared library exports coir_* only" \
        diff /dev/null "$tmp/foreign"
fi
tap_done
