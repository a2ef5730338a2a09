#!/bin/sh
# Records examples/calls.pcapng: real SIP programs in network namespaces, joined by a bridge, captured on that bridge.
# Needs root and: apt-get install kamailio sip-tester baresip-core tshark iproute2 ethtool
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../calls.pcapng}
work=$(mktemp -d)
tag=rec$$
hosts="proxy:1 alice:10 bob:20 gw:30 pbx:40"

say() { echo "record: $*" >&2; }
on() { host=$1; shift; ip netns exec "$tag$host" "$@"; }

finish() {
    [ -z "${KEEP:-}" ] || cp -r "$work" "$KEEP"
    for pid in $(cat "$work/pids" 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
    for host in $hosts; do ip netns del "$tag${host%:*}" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT INT TERM

# proxy's namespace holds the bridge and its own addresses; every other host hangs on it.
for host in $hosts; do
    name=${host%:*}
    ip netns add "$tag$name"
    on "$name" ip link set lo up
done
on proxy ip link add br0 type bridge
on proxy ip link set br0 up promisc on
on proxy ip addr add 192.0.2.1/24 dev br0
on proxy ip addr add 2001:db8::1/64 dev br0 nodad
on proxy ethtool -K br0 tx off >/dev/null
for host in $hosts; do
    name=${host%:*} number=${host#*:}
    [ "$name" = proxy ] && continue
    ip link add "$tag$number" type veth peer name eth0 netns "$tag$name"
    ip link set "$tag$number" netns "$tag"proxy
    on proxy ip link set "$tag$number" master br0 up
    on "$name" ip addr add "192.0.2.$number/24" dev eth0
    on "$name" ip addr add "2001:db8::$number/64" dev eth0 nodad
    on "$name" ip link set eth0 up
    on "$name" ethtool -K eth0 tx off gso off tso off >/dev/null
done

# SIP, and the odd ports of the phones' RTP range, which are RTCP. The RTP itself is left out.
filter='port 5060'
for port in 16385 16387 16389 16391 16393 16395 16397 16399; do filter="$filter or udp port $port"; done
ip netns exec "$tag"proxy dumpcap -q -i br0 -f "$filter" -w "$work/all.pcapng" 2>"$work/dumpcap.log" &
echo $! >>"$work/pids"
ip netns exec "$tag"proxy kamailio -DD -E -f "$here/kamailio.cfg" -Y "$work" -P "$work/kamailio.pid" 2>"$work/kamailio.log" &
echo $! >>"$work/pids"
sleep 2

phone() { # host, user, address family, transport, proxy's address, further account options, arguments …
    host=$1 user=$2 family=$3 transport=$4 proxy=$5 options=$6
    shift 6
    mkdir -p "$work/$user"
    if [ "$family" = 6 ]; then listen='[::]:5060'; else listen=0.0.0.0:5060; fi
    sed "s/^sip_listen.*/sip_listen $listen/" "$here/baresip/config" >"$work/$user/config"
    printf '<sip:%s@example.net;transport=%s>;auth_user=%s;auth_pass=secret-%s;outbound="sip:%s:5060;transport=%s";audio_codecs=PCMA/8000/1,PCMU/8000/1;regint=600%s\n' \
        "$user" "$transport" "$user" "$user" "$proxy" "$transport" "$options" >"$work/$user/accounts"
    : >"$work/$user/contacts"
    ip netns exec "$tag$host" baresip "-$family" -f "$work/$user" -n eth0 "$@" >"$work/$user/log" 2>&1 </dev/null &
    echo $! >>"$work/pids"
}

sipp_call() { # name, transport, address family, number, caller's scenario, callee's scenario or none
    say "$1"
    if [ "$3" = 6 ]; then gw=2001:db8::30 pbx=2001:db8::40 proxy='[2001:db8::1]:5060'
    else gw=192.0.2.30 pbx=192.0.2.40 proxy=192.0.2.1:5060; fi
    if [ "$6" != none ]; then
        (cd "$work" && on gw sipp -sf "$here/sipp/$6" -i "$gw" -p 5060 -t "$2" -m 1 -nostdin >/dev/null 2>"$work/uas.log") &
        uas=$!
        echo $uas >>"$work/pids"
        sleep 1
    fi
    (cd "$work" && on pbx sipp -sf "$here/sipp/$5" -i "$pbx" -p 5060 -t "$2" -s "$4" -m 1 -nostdin \
        -cid_str "%u-$1@pbx.example.net" "$proxy" >/dev/null)
    if [ "$6" != none ]; then wait "$uas"; fi
}

say "phones over IPv4/UDP: register, call, hang up"
phone bob bob 4 udp 192.0.2.1 ';answermode=auto' -t 20
sleep 2
phone alice alice 4 udp 192.0.2.1 '' -t 16 -e '/dial sip:bob@example.net'
sipp_call options-udp4 u1 4 proxy uac_options.xml none
sleep 20
say "phones over IPv6/TCP: register, call, hang up"
phone bob dave 6 tcp '[2001:db8::1]' ';answermode=auto' -t 20
sleep 2
phone alice carol 6 tcp '[2001:db8::1]' '' -t 16 -e '/dial sip:dave@example.net'
sipp_call options-tcp6 t1 6 proxy uac_options.xml none
sleep 20
sipp_call cancelled-udp6 u1 6 +493055501 uac_cancel.xml uas_cancel.xml
sipp_call busy-tcp4 t1 4 +493055502 uac_reject.xml uas_busy.xml
sipp_call unknown-udp4 u1 4 nobody uac_reject.xml none
sipp_call completed-udp6 u1 6 +493055503 uac_call.xml uas_call.xml
sipp_call completed-tcp4 t1 4 +493055504 uac_call.xml uas_call.xml
sleep 1

kill -TERM "$(head -1 "$work/pids")"
wait "$(head -1 "$work/pids")" || true
# By way of pcap, which has no room for the name of the machine that recorded it.
editcap -F nsecpcap "$work/all.pcapng" "$work/plain.pcap"
editcap -F pcapng "$work/plain.pcap" "$out"
chmod 644 "$out"
say "$(capinfos -rTc "$out" | cut -f2) packets in $out"
