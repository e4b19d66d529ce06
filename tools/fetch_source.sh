#!/usr/bin/env bash
# fetch_source.sh PACKAGE DIR - unpack a Debian source package, with Debian's
# changes if they are to be had, into DIR. Needs no root: apt-get works on lists of its own in our
# cache, of the sources that belong to the packages which it is set up for.
source "$(dirname "$0")/lib.sh"

package=$1
dir=$2
have apt-get || die "no apt-get here"
want dpkg-source dpkg-dev ||
    die "dpkg-source not found: install Debian package dpkg-dev"
state=$CACHE/apt-src
mkdir -p "$state"/{lists/partial,archives/partial,parts}

# Debian's own archives only: what else is set up need not have sources.
# keep_debian: of a file in the newer format, the paragraphs that are.
keep_debian() {
    awk 'BEGIN { RS = ""; ORS = "\n\n" } /Signed-By:.*\/debian-archive-/' |
        sed 's/^Types:.*/Types: deb-src/'
}
find "$state/parts" -type f -delete
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    [ -f "$file" ] || continue
    to=$state/parts/${file##*/}
    case $file in
    *.sources) keep_debian <"$file" >"$to" ;;
    *.list) sed -nE 's/^deb(-src)? (.*\/debian(-security)?\/? )/deb-src \2/p' \
        "$file" >"$to" ;;
    esac
    [ -s "$to" ] || rm -f "$to"
done

apt() {
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$state/parts" \
        -o Dir::State::lists="$state/lists" -o Dir::Cache="$state" \
        -o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)" "$@" \
        </dev/null
}
say "Fetching Debian source package $package into $dir"
apt update || warn "not all lists of sources could be fetched"
rm -rf "$dir.new"
mkdir -p "$dir.new"
cd "$dir.new"
if apt --download-only source "$package"; then
    dpkg-source --no-check -x ./*.dsc source >/dev/null
else
    # A mirror may lack Debian's own part.
    original=$(echo ./*.orig.tar.*)
    [ -e "$original" ] || die "nothing of $package could be fetched"
    warn "$package: without Debian's changes, which could not be fetched"
    mkdir source
    tar -xf "$original" --strip-components=1 -C source
fi
cd "$ROOT"
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
mv -T "$dir.new/source" "$dir"
rm -rf "$dir.new"
