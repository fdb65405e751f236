#!/bin/bash
# tests/gpio/vm.sh PORTCULLIS: the lock worker on a real Linux GPIO character device, in a virtual machine.
#
# Boots Debian's kernel under qemu with Debian's gpio-amdpt driver, bound by a small ACPI table to a page of the guest's
# memory that stands for the chip's registers. `PORTCULLIS lock-agent` in the guest drives line 17 of /dev/gpiochip0 and
# talks MQTT over TLS to a broker outside. The relay is read from outside the guest, from the physical register by qemu's monitor:
# neither the worker nor the guest's kernel can make it up. The door contact's line is set from outside as well: the guest's memory
# is a file, and the chip's input register a place in it.
#
# Everything runs in a network namespace of its own: no port can clash, nothing else can be reached.
#
#   BROKER=hub        (the default) `PORTCULLIS serve` with a private PostgreSQL, LOCK_AGENT=remote
#   BROKER=mosquitto  Mosquitto, for what a hub would not let through: the worker must refuse it by itself
#   W=FOLDER          where kernel, memory image and logs go; the kernel is kept for the next run
#   LATENCY=N         measure N openings (5)
#
# Needs root (packages, namespace) and Debian's archive at the first run; no KVM.
set -euo pipefail
SELF=$(realpath "$0")
HERE=$(dirname "$SELF")
PORTCULLIS=$(realpath "${1:?usage: tests/gpio/vm.sh PORTCULLIS}")
BROKER=${BROKER:-hub}
W=${W:-${TMPDIR:-/tmp}/portcullis-gpio-vm}
LATENCY=${LATENCY:-5}
PORT=41883     # plain, for the test's own clients
TLS_PORT=48883 # for the worker
MEMORY=256
REGISTERS=0x0B000000 # gpio-amdpt: direction +0, input +4, output +8
LINE=17
CONTACT=22 # the door contact's line, low while the door is shut
mkdir -p "$W"
cd "$W"
BEGUN=${BEGUN:-$(date +%s%N)}
export BEGUN W

say() { printf '%7.2fs  %s\n' "$((($(date +%s%N) - BEGUN) / 10000000))e-2" "$*"; }

# ---- 1: packages, kernel and memory image, with the host's network; then this script again in the namespace
packages() {
  (
    cd "$HERE/../.."
    # shellcheck source=scripts/packages.sh
    source scripts/packages.sh
    want_virtual_machine
    install
  )
  say "packages are here"
}

kernel() {
  local package offset image
  package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  if [ -z "$package" ]; then
    apt-get update -qq
    package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
  fi
  KERNEL=$W/$package
  if [ ! -d "$KERNEL/lib/modules" ]; then
    rm -rf "$KERNEL" "$package"_*.deb
    apt-get download -qq "$package" 2>>apt.log
    dpkg -x "$package"_*.deb "$KERNEL"
    rm "$package"_*.deb
  fi
  image=$(ls "$KERNEL"/boot/vmlinuz-*)
  # The ELF file inside boots without unpacking itself under emulation, which takes seconds.
  if [ ! -s "$KERNEL/vmlinux" ]; then
    offset=$(LC_ALL=C grep -abom1 -P '\xfd7zXZ\x00' "$image" | head -1 | cut -d: -f1) || true
    [ -z "$offset" ] || tail -c+$((offset + 1)) "$image" | xz -dcq >"$KERNEL/vmlinux" 2>/dev/null || true
  fi
  cp "$image" kernel
  ! readelf -h "$KERNEL/vmlinux" >/dev/null 2>&1 || cp "$KERNEL/vmlinux" kernel
}

image() {
  local module library modules="gpio-generic gpio-amdpt
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net"
  cat >ssdt.asl <<ASL
DefinitionBlock ("ssdt.aml", "SSDT", 2, "LOCK", "GPIO", 1) { Scope (\_SB) { Device (GPI0) {
  Name (_HID, "AMDIF031")
  Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadWrite, $REGISTERS, 0x1000) }) } } }
ASL
  iasl ssdt.asl >/dev/null 2>&1
  rm -rf root
  mkdir -p root/bin root/modules
  cp /bin/busybox root/bin
  cp ca.pem other.pem root/
  cp "$PORTCULLIS" root/bin/portcullis
  strip root/bin/portcullis
  ldd "$PORTCULLIS" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "root${library%/*}"
    cp -L "$library" "root$library"
  done || true # a static program has none
  for module in $modules; do
    cp "$(find "$KERNEL/lib/modules" -name "$module.ko")" root/modules/
  done
  cat >root/init <<INIT
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(echo $modules); do insmod /modules/\$module.ko || echo "FAILED \$module"; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
echo "READY \$(uname -r) \$(cut -d' ' -f1 /proc/uptime) s, \$(ls /dev/gpiochip*)"
while read -r line; do sh -c "\$line" >/dev/ttyS1 2>&1; done </dev/ttyS1
INIT
  chmod +x root/init
  (cd root && find . | cpio -o -H newc --quiet | gzip -1) >image.gz
  say "kernel and memory image are ready ($(stat -c%s image.gz) bytes)"
}

# An authority, the broker's certificate for the address that the guest sees, and an authority that signed nothing.
certificates() {
  local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  for authority in ca other; do
    openssl req -x509 "${new[@]}" -days 2 -subj "/CN=$authority" -keyout $authority.key -out $authority.pem 2>/dev/null
  done
  openssl req "${new[@]}" -subj /CN=hub -keyout hub.key -out hub.csr 2>/dev/null
  openssl x509 -req -in hub.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile <(echo subjectAltName=IP:10.0.2.2) \
    -out hub.pem 2>/dev/null
  chmod 644 hub.key # Mosquitto reads it as a user of its own
}

if [ -z "${IN_NAMESPACE:-}" ]; then
  packages
  certificates
  kernel
  image
  IN_NAMESPACE=1 exec unshare -n bash "$SELF" "$PORTCULLIS"
fi

# ---- 2: the guest, the broker, and what the checks are made of
/bin/busybox ifconfig lo up
rm -f control.* monitor.* console.log bus.log broker.log
# shellcheck source=/dev/null
. "$HERE/broker-$BROKER.sh" # broker_start, broker_stop, broker_kill, publish, listen, GUEST_LOGIN
mkfifo control.in control.out monitor.in monitor.out
rm -f memory
qemu-system-x86_64 -accel tcg -cpu max -m $MEMORY -machine memory-backend=ram \
  -object memory-backend-file,id=ram,size=${MEMORY}M,mem-path=memory,share=on -display none -no-reboot -kernel kernel -initrd image.gz -acpitable file=ssdt.aml \
  -serial file:console.log -serial pipe:control -monitor pipe:monitor -rtc base=utc,clock=host \
  -netdev user,id=n0 -device virtio-net-pci,netdev=n0,romfile= \
  -append "console=ttyS0 panic=-1 quiet mitigations=off cryptomgr.notests memmap=64K\$$REGISTERS" &
GUEST=$!
LISTENER=
finish() {
  kill $GUEST $LISTENER 2>/dev/null || true
  broker_stop || true
  wait $GUEST $LISTENER 2>/dev/null || true
  rm -f memory
}
trap finish EXIT
exec 5<>control.in 6<>control.out 7<>monitor.in 8<>monitor.out

guest() { echo "$*" >&5; } # a line for the guest's shell
# What the guest's shell answers to a line, by a word that no other line has.
ask() {
  local line word="answer$RANDOM$RANDOM"
  guest "echo \"$word=\$($*)\""
  while read -r -t 20 line <&6; do
    line=${line%$'\r'}
    case $line in "$word"=*) echo "${line#*=}"; return ;; esac
  done
  echo '(no answer)'
}
# The word at an address of the guest's physical memory, as qemu reads it.
register() {
  local line address
  address=$(printf '%016x:' $((REGISTERS + $1)))
  echo "xp /1xw $((REGISTERS + $1))" >&7
  while read -r -t 10 line <&8; do
    case $line in $address*) line=${line##*0x}; echo $((0x${line%$'\r'})); return ;; esac
  done
  echo -1
}
relay() { echo $((($(register 8) >> LINE) & 1)); }
# contact LEVEL: what the wire of the door's contact does to the chip's input register
contact() {
  printf "$(printf '\\x%02x' $(($1 << (CONTACT % 8))))" \
    | dd of=memory bs=1 seek=$((REGISTERS + 4 + CONTACT / 8)) conv=notrunc status=none
}

PASSED=0
FAILED=0
# is WHAT VALUE EXPECTED
is() {
  if [ "$2" = "$3" ]; then
    PASSED=$((PASSED + 1))
    say "ok    $1: $2"
  else
    FAILED=$((FAILED + 1))
    say "FAIL  $1: $2, not $3"
  fi
}
# eventually SECONDS COMMAND…: whether it comes true in time
eventually() {
  local end=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@"; do
    [ "$(date +%s%N)" -lt $end ] && kill -0 $GUEST 2>/dev/null || return 1
    sleep 0.05
  done
}
must() { eventually "$@" || { say "gave up on: $*"; tail -n 8 console.log; tail -n 5 bus.log broker.log; exit 1; }; }
relay_is() { [ "$(relay)" = "$1" ]; }
booted() { grep -aq READY console.log 2>/dev/null; }
mark() { MARK=$(wc -l <bus.log); }
since_mark() { tail -n +$((MARK + 1)) bus.log; }
# What the worker said last on lock/status: OPEN, CLOSED, UNKNOWN; and offline for UNKNOWN of nobody
status() { grep '^lock/status ' bus.log | tail -n 1 | cut -d' ' -f2- | jq -r 'if .online then .status else "offline" end' 2>/dev/null; }
status_is() { [ "$(status)" = "$1" ]; }
# What the worker said last of the door, and what is wrong with it
door() { grep '^lock/status ' bus.log | tail -n 1 | cut -d' ' -f2- | jq -r '"\(.door) \(.alarm)"' 2>/dev/null; }
door_is() { [ "$(door)" = "$1" ]; }
told() { since_mark | grep '^lock/status ' | grep -q "\"status\":\"$1\""; }

# The time in so many milliseconds.
now() {
  local ms=$(($(date +%s%3N) + ${1:-0}))
  date -u -d "@$((ms / 1000)).$(printf '%03d' $((ms % 1000)))" +%FT%T.%3NZ
}
# The guest takes its clock from a register that counts whole seconds, so it is set anew, as a second begins.
set_clock() {
  sleep "$(date +%N | awk '{ printf "%.3f", 1 - $1 / 1e9 }')"
  # Waited for: what is sent next must not overtake it.
  ask "date -s @$(date +%s) >/dev/null" >/dev/null
}
# command ACTION [ISSUED_MS [LIFE_MS]]: its JSON; $ID is its id
command() {
  printf '{"action":"%s","commandId":"%s","issuedAt":"%s","expiresAt":"%s","requestedBy":"device:test-%s"}' \
    "$1" "$ID" "$(now "${2:-0}")" "$(now $((${2:-0} + ${3:-2500})))" $((COUNT / 8))
}
COUNT=0
fresh() { ID=$(cat /proc/sys/kernel/random/uuid); COUNT=$((COUNT + 1)); }
answered() { since_mark | grep '^lock/response ' | grep -q "$ID"; }
answer() { since_mark | grep '^lock/response ' | grep "$ID" | tail -n 1 | cut -d' ' -f2- | jq -r "$1"; }
# give ACTION [ISSUED_MS [LIFE_MS]]: gives a command and waits for what becomes of it: done, refused, or nothing
give() {
  pace
  fresh
  mark
  publish lock/command "$(command "$@")"
  if eventually "${PATIENCE:-6}" answered; then OUTCOME=$(answer .outcome); MESSAGE=$(answer .message); else OUTCOME=nothing; MESSAGE=; fi
}

# start [SETTING=VALUE…]: the worker in the guest
start() {
  guest "env $GUEST_LOGIN MQTT_URL=mqtts://10.0.2.2:$TLS_PORT MQTT_CA=/ca.pem GPIO_CHIP=/dev/gpiochip0 LOCK_OPEN_SECONDS=2 $* portcullis lock-agent >/dev/ttyS0 2>&1 &"
}
stop() {
  guest "kill $1 \$(pidof portcullis)"
  must 10 gone
}
gone() { [ -z "$(ask pidof portcullis)" ]; }

must 90 booted
say "the guest is up: $(grep -ao 'READY.*' console.log | tr -d '\r')"
must 60 broker_start
listen >bus.log 2>>broker.log &
LISTENER=$!
set_clock

. "$HERE/cases.sh"

say "qemu's peak memory: $(awk '/VmHWM/ { print $2, $3 }' /proc/$GUEST/status)"
guest 'poweroff -f'
wait $GUEST || true
say "the guest is off"
echo "$PASSED passed, $FAILED failed"
[ $FAILED = 0 ]
