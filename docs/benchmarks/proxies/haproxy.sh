#!/bin/sh
# Puts HAProxy in Conduit's place for `conduit-bench run --proxy haproxy=docs/benchmarks/proxies/haproxy.sh`; see README.md here.
# HTTP is handled request by request, gRPC as HTTP/2, the rest as TCP; all of it over TLS 1.3 with certificates on both sides.
set -eu

cat "$CERT" "$KEY" > "$DIR/both.pem"
{
    echo "global"
    echo "    maxconn 4000"
    echo "    nbthread 1"
    echo "    log /dev/null local0"
    echo "defaults"
    echo "    timeout connect 5s"
    echo "    timeout client 1h"
    echo "    timeout server 1h"
    for service in $PORTS; do
        port=${service%%:*}
        case ${service##*:} in
        http) mode=http bind_proto="" tls_alpn="alpn http/1.1" server_proto="" ;;
        grpc) mode=http bind_proto="proto h2" tls_alpn="alpn h2" server_proto="proto h2" ;;
        *) mode=tcp bind_proto="" tls_alpn="" server_proto="" ;;
        esac
        echo "listen on-$port"
        echo "    mode $mode"
        if [ "$mode" = http ]; then echo "    http-reuse always"; fi
        if [ "$ROLE" = client ]; then
            echo "    bind 127.0.0.1:$((port + 10000)) $bind_proto"
            echo "    server peer $PEER:$((port + 20000)) ssl verify required ca-file $CA crt $DIR/both.pem verifyhost bench $tls_alpn $server_proto"
        else
            echo "    bind :$((port + 20000)) ssl crt $DIR/both.pem ca-file $CA verify required ssl-min-ver TLSv1.3 $tls_alpn"
            echo "    server application 127.0.0.1:$port $server_proto"
        fi
    done
} > "$DIR/haproxy.cfg"
haproxy -c -q -f "$DIR/haproxy.cfg"
haproxy -db -f "$DIR/haproxy.cfg" >&2 &
trap 'kill $!' TERM INT
sleep 1
echo ready
wait $!
