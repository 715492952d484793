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
