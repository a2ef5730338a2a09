#!/bin/sh
# Installs the real SIP and HEP software that the interoperability tests talk to, when it is missing and this user may
# install it (root, or sudo without a password) on Debian or Ubuntu. Otherwise it only says so: each test that needs a
# program fails by itself with the line that installs it.
set -eu
PATH=$PATH:/usr/sbin:/sbin

need=
want() { command -v "$1" >/dev/null || need="$need $2"; }
want kamailio kamailio
want sngrep sngrep
want sipp sip-tester
want tshark tshark
want ip iproute2
want rsyslogd rsyslog
want mariadbd mariadb-server
want promtool prometheus
if grep -qs '^ID=ubuntu' /etc/os-release; then want chromium chromium; else want chromium-headless-shell chromium-headless-shell; fi
want systemd-analyze systemd
want clickhouse-server clickhouse-server
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need="$need postgresql"
[ -n "$need" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo='sudo -n'
if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
    echo "installing$need …"
    $sudo apt-get update -qq
    # shellcheck disable=SC2086 # words are wanted
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $need >/dev/null
else
    echo "missing:$need. Install with: sudo apt-get install$need" >&2
fi
