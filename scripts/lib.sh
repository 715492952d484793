# shellcheck shell=bash
# What the scripts beside this one share; sourced, not run.

# Prints the folder for what is fetched or made once and used again, and makes it.
cache() {
    local home=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
    # Without a home, as in some containers: in the clone, where git ignores it.
    home=${home:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache}
    mkdir -p "$home/lockbroker"
    echo "$home/lockbroker"
}

# Prints the mirror of Debian's main archive that this machine's own apt uses.
debian_mirror() {
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016  # The format is apt's.
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v release="$codename" '$1 == release && $2 == "main" && !found { print $3; found = 1 }'
}

# Fetches packages of one of Debian's suites, unpacks them in a folder, and makes a program there that runs one of
# what is in them: unpack_from_debian SUITE FOLDER PATH-IN-THE-PACKAGES PACKAGE…
# Needs no root and installs nothing. The libraries are among the packages, the C library first of all, since the
# machine's own may be an older one.
unpack_from_debian() (
    set -euo pipefail
    suite=$1 home=$2 program=$3
    shift 3
    name=$(basename "$program")
    echo "Fetching $name from Debian's $suite" >&2
    mirror=$(debian_mirror)
    if [[ -z $mirror ]]; then
        echo "apt knows no mirror of Debian; install $name yourself" >&2
        exit 1
    fi

    work=$(mktemp --directory "$(cache)/fetching.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work"/{lists,cache/archives}/partial "$work"/{packages,root}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    apt() {
        apt-get -qq \
            -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
            -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@" >&2
    }
    apt update
    (cd "$work/packages" && apt download "$@")
    for package in "$work"/packages/*.deb; do
        dpkg-deb --extract "$package" "$work/root"
    done

    loader=$(cd "$work/root" && find . -type f -name 'ld-linux*.so.*' | head -n 1)
    machine=$(basename "$(dirname "$loader")")
    # Started by way of its own loader. `exec`, so that the process that is started is the one to stop and kill.
    cat >"$work/root/$name" <<END
#!/bin/sh
home=\${0%/*}
exec "\$home/$loader" --library-path "\$home/lib/$machine:\$home/usr/lib/$machine" "\$home/$program" "\$@"
END
    chmod +x "$work/root/$name"
    rm -rf "$home"
    mv "$work/root" "$home"
)
