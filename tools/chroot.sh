#!/usr/bin/env bash
# chroot.sh - a Debian of the newest suite beside this machine's, for the
# CPython versions that this one has not. Needs root.
#
#     chroot.sh make SUITE [PACKAGE...]    make it, if it is not there yet
#     chroot.sh run SUITE COMMAND...       run a command in it, in this tree
#
# It lies in our cache and is kept. The mirror is the one that this machine's
# apt is configured for. The tree, at its own path, and pip's cache are mounted
# into it in a mount namespace that ends with the command: nothing stays
# mounted, and removing the chroot can never reach the tree.
source "$(dirname "$0")/lib.sh"

action=$1
suite=$2
shift 2
dir=$CACHE/matrix/$suite
ca=/etc/ssl/certs/ca-certificates.crt

# The URIs that apt gets this Debian's main component from.
mirrors() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v r="$codename" '$1 == r && $2 == "main" { print $3 }' |
        sed 's,/*$,,' | sort -u
}

# The first of them that has the suite.
find_mirror() {
    local uri probe
    probe=$(mktemp)
    for uri in $(mirrors); do
        if /usr/lib/apt/apt-helper download-file \
            "$uri/dists/$suite/InRelease" "$probe" >/dev/null 2>&1; then
            rm -f "$probe"
            echo "$uri"
            return
        fi
    done
    rm -f "$probe"
    return 1
}

# What this machine needs to reach the registries, the other one needs too.
copy_network_settings() {
    local file
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf $ca; do
        [ -e "$file" ] || continue
        mkdir -p "$1$(dirname "$file")"
        cp -L "$file" "$1$file"
    done
    {
        # A mirror may be frozen on a day; signatures are checked all the same.
        echo 'Acquire::Check-Valid-Until "false";'
        apt-config dump | grep -Ei '^Acquire::(https?|Retries|Check-Date)' ||
            true
    } >"$1/etc/apt/apt.conf.d/99host"
}

# inside ROOT COMMAND...: with the tree, devices and pip's cache in place.
inside() {
    local root=$1
    shift
    mkdir -p "$root$ROOT" "$root/root/.cache/pip" "$CACHE/pip"
    # Each time: installing ca-certificates puts its own file there.
    copy_network_settings "$root"
    local keep=() name wheels=${PIP_FIND_LINKS:-}
    [[ $wheels = /* && -d $wheels ]] && mkdir -p "$root$wheels" || wheels=
    for name in $(compgen -e); do
        case $name in
        PIP_* | *_proxy | *_PROXY | *_CA_BUNDLE | SSL_CERT_* | CI | JOBS | \
            TERM | COIR_* | MESON_*) keep+=("$name=${!name}") ;;
        esac
    done
    [ ! -e $ca ] || keep+=("PIP_CERT=${PIP_CERT:-$ca}")
    # shellcheck disable=SC2016
    unshare --mount --propagation private bash -euc '
        root=$1 tree=$2 pip=$3 wheels=$4
        shift 4
        mount --bind "$tree" "$root$tree"
        mount --bind "$pip" "$root/root/.cache/pip"
        [ -z "$wheels" ] || mount --bind "$wheels" "$root$wheels"
        mount --rbind /dev "$root/dev"
        mount -t proc proc "$root/proc" 2>/dev/null ||
            mount --rbind /proc "$root/proc"
        exec chroot "$root" env -i "$@"
    ' bash "$root" "$ROOT" "$CACHE/pip" "$wheels" \
        HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        "${keep[@]}" "$@"
}

make_chroot() {
    local new=$dir.new log=$CACHE/matrix/$suite.log mirror
    mkdir -p "$CACHE/matrix"
    exec 9>"$CACHE/matrix/$suite.lock"
    flock 9
    [ ! -e "$dir/usr/bin/env" ] || return 0
    have debootstrap || apt_install debootstrap || return
    mirror=$(find_mirror) || mirror=$(apt-get -qq update && find_mirror) || {
        warn "no mirror of this machine's apt has the suite $suite"
        return 1
    }
    say "Making a chroot of Debian $suite (once; a few minutes)"
    rm -rf --one-file-system "$new"
    mkdir -p "$new"
    # debootstrap does not ask apt for its proxy.
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "${proxy:-}" ] || export http_proxy=$proxy
    if ! unshare --mount --propagation private \
        debootstrap --variant=minbase "$suite" "$new" "$mirror" \
        >"$log" 2>&1 </dev/null; then
        tail -n 3 "$log" >&2
        return 1
    fi
    mv -T "$new" "$dir"
}

# Packages that the suite has not, or no more, are left out.
add_packages() {
    local package missing=()
    for package; do
        [ -e "$dir/var/lib/dpkg/info/$package.list" ] ||
            [ -e "$dir/var/lib/dpkg/info/$package:$(arch_name).list" ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Installing in it: ${missing[*]}"
    # shellcheck disable=SC2016
    inside "$dir" bash -c '
        apt-get -qq update
        for package; do
            if apt-cache show "$package" >/dev/null 2>&1; then
                found+=("$package")
            fi
        done
        apt-get -qq -y --no-install-recommends install "${found[@]}"
    ' bash "${missing[@]}" >"$CACHE/matrix/$suite.log" 2>&1 </dev/null || {
        tail -n 3 "$CACHE/matrix/$suite.log" >&2
        return 1
    }
}

arch_name() { dpkg --print-architecture; }

[ "$(id -u)" = 0 ] || { warn "a chroot needs root"; exit 1; }
have apt-get || { warn "a chroot needs a Debian machine"; exit 1; }
unshare --mount true 2>/dev/null || {
    warn "a chroot needs the right to mount"
    exit 1
}
case $action in
make)
    make_chroot
    add_packages "$@"
    ;;
run)
    # shellcheck disable=SC2016
    inside "$dir" bash -c 'cd "$1" && shift && exec "$@"' bash "$ROOT" "$@"
    ;;
*) die "unknown action: $action" ;;
esac
