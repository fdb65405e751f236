# shellcheck shell=bash
# Sourced by the other scripts: installs what is missing, by apt-get, and says what.
# `want COMMAND PACKAGE…` notes packages for a command that is not there, `want_package PACKAGE…` those that are not
# installed; `install` gets all that was noted. With LIST_PACKAGES=1 `install` names all that the script ever wants, each
# as `PACKAGE COMMAND`, and the script ends there: scripts/bare asks so.

missing=()

want() {
    local command=$1
    shift
    if [[ -n ${LIST_PACKAGES-} ]]; then
        missing+=("${@/%/ $command}")
    elif ! command -v "$command" >/dev/null; then
        missing+=("$@")
    fi
}

want_package() {
    local package
    for package; do
        if [[ -n ${LIST_PACKAGES-} || $(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null) != installed ]]; then
            missing+=("$package")
        fi
    done
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
    if [[ -n ${LIST_PACKAGES-} || -z $(postgres_bin) ]]; then missing+=(postgresql); fi
    want psql postgresql-client
}

# A Python with what makes virtual environments, which Debian keeps in a package of its own.
want_python() {
    want python3 python3
    if [[ -n ${LIST_PACKAGES-} ]] || ! python3 -c 'import ensurepip' 2>/dev/null; then missing+=(python3-venv); fi
}

# An empty virtual environment, of the Python itself: the link by which it was found may go.
new_venv() {
    "$(realpath "$(command -v python3)")" -m venv --clear "$1"
}

# The proxies that deploy/ has examples for.
want_proxies() {
    want_package nginx libnginx-mod-stream caddy
}

# What tests/gpio/vm.sh boots a machine with, and talks to it by.
want_virtual_machine() {
    want_package qemu-system-x86 busybox-static cpio acpica-tools xz-utils binutils curl jq openssl iproute2 \
        mosquitto mosquitto-clients
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null
}

install() {
    if [[ -n ${LIST_PACKAGES-} ]]; then
        printf '%s\n' "${missing[@]}" | sort -u
        exit
    fi
    [[ ${#missing[@]} -gt 0 ]] || return 0
    echo "Installing by apt-get: ${missing[*]}"
    as_root apt-get update -qq
    # Debian starts a server as soon as it is installed, on ports that somebody may use; here they only have to be there.
    local server
    for server in nginx caddy mosquitto; do
        if [[ " ${missing[*]} " == *" $server "* ]] && command -v systemctl >/dev/null; then
            as_root systemctl mask --quiet "$server" || true
        fi
    done
    if [[ " ${missing[*]} " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        # The hub runs a server of its own: Debian need not start one as well.
        apt_install postgresql-common
        as_root sed -i 's/^#\?create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    apt_install "${missing[@]}"
    missing=()
}

# The packages that a folder's package-lock.json lists, anew when it has changed.
node_packages() {
    local folder=$1 wanted
    wanted=$(sha256sum "$folder/package-lock.json")
    if [[ $(cat "$folder/node_modules/.installed" 2>/dev/null) != "$wanted" ]]; then
        echo "Installing the JavaScript packages of $folder"
        npm ci --prefix "$folder" --no-audit --no-fund --loglevel=error
        echo "$wanted" >"$folder/node_modules/.installed"
    fi
}
