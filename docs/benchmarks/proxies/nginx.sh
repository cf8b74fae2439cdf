#!/bin/sh
# Puts nginx in Conduit's place for `conduit-bench run --proxy nginx=docs/benchmarks/proxies/nginx.sh`; see README.md here. It
# needs the stream module (Debian's libnginx-mod-stream). One worker; HTTP request by request over kept connections, gRPC as HTTP/2, the rest as
# TCP; TLS 1.3 with certificates on both sides.
set -eu

tls_server="ssl_certificate $CERT; ssl_certificate_key $KEY; ssl_client_certificate $CA; ssl_verify_client on; ssl_protocols TLSv1.3;"
tls_client() {
    echo "${1}_ssl_certificate $CERT; ${1}_ssl_certificate_key $KEY; ${1}_ssl_trusted_certificate $CA; ${1}_ssl_verify on; ${1}_ssl_name bench; ${1}_ssl_server_name on; ${1}_ssl_protocols TLSv1.3;"
}
kept='proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;'
requests="" streams=""
for service in $PORTS; do
    port=${service%%:*}
    kind=${service##*:}
    if [ "$ROLE" = client ]; then
        to="$PEER:$((port + 20000))" listen="127.0.0.1:$((port + 10000))" s=s own=""
    else
        to="127.0.0.1:$port" listen="$((port + 20000)) ssl" s="" own="$tls_server"
    fi
    pool="upstream to-$port { server $to; keepalive 1000; keepalive_requests 1000000000; }"
    server="keepalive_requests 1000000000; $own"
    case $kind in
    http)
        tls=""
        if [ "$ROLE" = client ]; then tls=$(tls_client proxy); fi
        requests="$requests $pool server { listen $listen; $server location / { proxy_pass http$s://to-$port; $kept $tls } }"
        ;;
    grpc)
        tls=""
        if [ "$ROLE" = client ]; then tls=$(tls_client grpc); fi
        requests="$requests $pool server { listen $listen http2; $server location / { grpc_pass grpc$s://to-$port; $tls } }"
        ;;
    *)
        tls=""
        if [ "$ROLE" = client ]; then tls="proxy_ssl on; $(tls_client proxy)"; fi
        streams="$streams server { listen $listen; $own proxy_pass $to; proxy_half_close on; $tls }"
        ;;
    esac
done
module=/usr/lib/nginx/modules/ngx_stream_module.so
if [ -e "$module" ]; then echo "load_module $module;"; fi > "$DIR/nginx.conf"
cat >> "$DIR/nginx.conf" <<CONFIG
daemon off; worker_processes 1; error_log stderr error; pid $DIR/nginx.pid;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path $DIR/body; proxy_temp_path $DIR/proxy; fastcgi_temp_path $DIR/f; uwsgi_temp_path $DIR/u; scgi_temp_path $DIR/s; $requests }
stream { $streams }
CONFIG
nginx -q -t -c "$DIR/nginx.conf" >&2
nginx -c "$DIR/nginx.conf" >&2 &
trap 'kill $!' TERM INT
sleep 1
echo ready
wait $!
