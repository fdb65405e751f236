# shellcheck shell=bash
# Sourced by the other scripts: installs what is missing, by apt-get, and says what.
# `want COMMAND PACKAGE…` notes packages for a command that is not there; `install` gets all that was noted.

missing=()

want() {
    local command=$1
    shift
    command -v "$command" >/dev/null || missing+=("$@")
}

# The folder of PostgreSQL's server programs, which Debian keeps off the PATH. Nothing where there is no server.
postgres_bin() {
    local folder
    for folder in "$(pg_config --bindir 2>/dev/null || true)" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -Vr) \
        "$(dirname "$(command -v postgres || echo /)")"; do
        if [[ -x $folder/initdb && -x $folder/postgres ]]; then
            echo "$folder"
            return
        fi
    done
}

want_rust() {
    if ! command -v cargo >/dev/null && [[ -x $HOME/.cargo/bin/cargo ]]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install it from https://rustup.rs, then run this again." >&2
        exit 1
    fi
    # Some dependencies have parts in C.
    want cc gcc libc6-dev
}

want_postgresql() {
    [[ -n $(postgres_bin) ]] || missing+=(postgresql)
    want psql postgresql-client
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

install() {
    [[ ${#missing[@]} -gt 0 ]] || return 0
    echo "Installing by apt-get: ${missing[*]}"
    as_root apt-get update -qq
    if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        # The hub runs a server of its own: Debian need not start one as well.
        apt_install postgresql-common
        as_root sed -i 's/^#\?create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    apt_install "${missing[@]}"
    missing=()
}
