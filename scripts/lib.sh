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

# Puts the programs of a requirements file of this repository on PATH, unless the present version is at least the wanted
# one.
bring() {
    local present=$1 wanted=$2 requirements=$3 root python
    if [[ -n $present ]] && printf '%s\n' "$wanted" "$present" | sort --version-sort --check=quiet; then
        return
    fi
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=$("$root/scripts/venv" "$root/$requirements")
    PATH=${python%/*}:$PATH
}

# Puts a Node with npm on PATH, unless the present one is at least the wanted one.
bring_node() {
    local wanted=$1 present
    present=$(node --version 2>/dev/null) || present=
    command -v npm >/dev/null || present=
    bring "${present#v}" "$wanted" tests/clients/node.txt
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

# Ends a script that makes machines with bare_debian, where nobody can.
needs_debootstrap() {
    if ((EUID)) || ! command -v debootstrap >/dev/null; then
        echo "$0: needs root and debootstrap" >&2
        exit 1
    fi
}

# Makes a bare Debian 12 in a folder, with some packages more, and shows it the ways out of this machine:
# names, certificates, registries. Needs root and debootstrap.
bare_debian() {
    local root=$1 packages=$2 file
    # mktemp's folder is closed to others, and so would be all of the new machine to its users.
    chmod 755 "$root"
    debootstrap --variant=minbase --include="ca-certificates,$packages" bookworm "$root" "$(debian_mirror)" >/dev/null
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99host"
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/npmrc /etc/ssl/certs/ca-certificates.crt; do
        [[ ! -e $file ]] || cp --dereference "$file" "$root$file"
    done
    # Java makes a list of its own, from single files.
    if cp --dereference /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null; then
        chroot "$root" update-ca-certificates >/dev/null 2>&1
    fi
    mkdir -p "$root/root/.cargo"
    for file in "${CARGO_HOME:-$HOME/.cargo}"/config{,.toml}; do
        [[ ! -e $file ]] || cp "$file" "$root/root/.cargo/"
    done
}

# in_bare_debian ROOT FOLDER STEP: runs the file /root/STEP of what bare_debian has made there, in a folder of it, with this
# machine's Rust and ways out and nothing else of its environment. All processes of a step end with it, and so do the mounts.
in_bare_debian() {
    local root=$1 folder=$2 step=$3 way_out
    mapfile -t way_out < <(env | grep -iE '^((https?|no|all)_proxy|ssl_cert_(file|dir)|cargo_(http|net|registries|source)_.*|pip_(cert|index_url|extra_index_url)|goproxy|gosumdb|node_extra_ca_certs)=')
    mkdir -p "$root/opt/rust"
    # shellcheck disable=SC2016  # The inner shell expands its own arguments.
    unshare --mount --pid --fork --kill-child -- bash -euc '
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount --bind -o ro "$2" "$1/opt/rust"
        exec chroot "$1" env --ignore-environment --chdir="$3" "${@:5}" bash "/root/$4"
    ' - "$root" "$(rustc --print sysroot)" "$folder" "$step" HOME=/root PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin "${way_out[@]}"
}

# Brings a program of Debian's and prints a path that runs it with any arguments: its name, the suite, and the
# packages that hold it and the libraries that it was built against, libc6 among them. Needs no root and installs
# nothing: packages are fetched from the mirror that this machine's own apt uses, and unpacked in the cache.
debian_program() {
    local program=$1 suite=$2 packages=("${@:3}")
    local cache home mirror work loader machine package bin
    cache=$(cache)
    # Test binaries that run at the same time may all ask; the first one fetches.
    exec 9>"$cache/$program.lock"
    flock 9

    home=$cache/$program-$suite
    if [[ -x $home/$program ]]; then
        echo "$home/$program"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "$0: no $program that is new enough on PATH, and no apt-get to fetch one: install it" >&2
        return 1
    fi
    echo "Fetching $program from Debian's $suite" >&2
    mirror=$(debian_mirror)
    if [[ -z $mirror ]]; then
        echo "$0: apt knows no mirror of Debian; install $program yourself" >&2
        return 1
    fi

    work=$(mktemp --directory "$cache/fetching.XXXXXX")
    # shellcheck disable=SC2064  # Expanded now: the variable is local.
    trap "rm -rf '$work'" EXIT
    mkdir -p "$work"/{lists,cache/archives}/partial "$work"/{packages,root}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources.list"
    apt() {
        apt-get -qq \
            -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
            -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" \
            -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)" "$@" >&2
    }
    apt update
    (cd "$work/packages" && apt download "${packages[@]}")
    for package in "$work"/packages/*.deb; do
        dpkg-deb --extract "$package" "$work/root"
    done

    loader=$(cd "$work/root" && find . -type f -name 'ld-linux*.so.*' | head -n 1)
    machine=$(basename "$(dirname "$loader")")
    # Servers lie in sbin.
    bin=usr/bin
    [[ -x $work/root/$bin/$program ]] || bin=usr/sbin
    # Started by way of its own loader, since the machine's C library may be an older one. `exec`, so
    # that the process that a test starts is the one that it stops and kills.
    cat >"$work/root/$program" <<END
#!/bin/sh
home=\${0%/*}
exec "\$home/$loader" --library-path "\$home/lib/$machine:\$home/usr/lib/$machine" "\$home/$bin/$program" "\$@"
END
    chmod +x "$work/root/$program"
    rm -rf "$home"
    mv "$work/root" "$home"
    echo "$home/$program"
}
