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

# Makes a bare Debian 12 in a folder, with some packages more, and shows it the ways out of this machine:
# names, certificates, registries. Needs root and debootstrap.
bare_debian() {
    local root=$1 packages=$2 file
    debootstrap --variant=minbase --include="ca-certificates,$packages" bookworm "$root" "$(debian_mirror)" >/dev/null
    apt-config dump Acquire >"$root/etc/apt/apt.conf.d/99host"
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [[ ! -e $file ]] || cp --dereference "$file" "$root$file"
    done
    mkdir -p "$root/root/.cargo"
    for file in "${CARGO_HOME:-$HOME/.cargo}"/config{,.toml}; do
        [[ ! -e $file ]] || cp "$file" "$root/root/.cargo/"
    done
}
