# shellcheck shell=bash
# Sourced by the scripts of this folder: makes sure that there are a JDK and Maven, and runs Maven.

java_toolchain() {
    local packages=() present
    present=$(javac -version 2>/dev/null) || present=
    [[ ${present#javac } =~ ^(1[7-9]|[2-9][0-9]) ]] || packages+=(default-jdk-headless)
    command -v mvn >/dev/null || packages+=(maven)
    ((${#packages[@]})) || return 0
    if ((EUID)); then
        echo "clients/java: run this first: sudo apt-get install ${packages[*]}" >&2
        exit 1
    fi
    # Others may be installing something.
    apt-get -o DPkg::Lock::Timeout=300 update -qq
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -qq --no-install-recommends \
        "${packages[@]}" >/dev/null
}

# maven ARGUMENT…: runs Maven, which asks the network only until these goals of these files have succeeded once.
maven() {
    local key seen offline=() goals=() argument
    for argument; do
        [[ $argument = -* ]] || goals+=("$argument")
    done
    key=$({ echo "${goals[@]}" && cat pom.xml lockbroker-*/pom.xml; } | sha256sum)
    seen=${XDG_CACHE_HOME:-$HOME/.cache}/lockbroker/java-${key:0:16}
    [[ ! -e $seen ]] || offline=(--offline)
    # A run of seconds ends before the second compiler has paid for itself.
    MAVEN_OPTS=${MAVEN_OPTS--XX:TieredStopAtLevel=1 -XX:+UseSerialGC} mvn --quiet --batch-mode "${offline[@]}" "$@" >&2 || return
    mkdir -p "${seen%/*}" && touch "$seen"
}

java_toolchain
