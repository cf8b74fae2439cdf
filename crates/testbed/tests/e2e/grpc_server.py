"""A gRPC server of bytes, by grpcio, with a call of every kind; it tells how calls ended, on request and in its log."""
import collections, sys, threading, time
from concurrent import futures

import grpc

ended = collections.Counter()


def count(call, context):
    """Counts the call when it ends, and how: a call that the client left is not active any more when its handler finds out."""
    context.add_callback(lambda: ended.update([call]))


def metadata(context, name):
    return next((value for key, value in context.invocation_metadata() if key == name), "")


def echo(request, context):
    context.send_initial_metadata([("x-early", metadata(context, "x-early"))])
    context.set_trailing_metadata([("x-late", str(len(request))), ("x-late-bin", bytes(range(8)))])
    return request


def refuse(request, context):
    context.set_trailing_metadata([("x-late", "refused")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100 % größer")


def remaining(request, context):
    seconds = context.time_remaining()
    return b"none" if seconds is None or seconds > 1e6 else str(seconds).encode()


def sleep(request, context):
    count("sleep", context)
    while context.is_active():
        time.sleep(0.01)
    return b""


def watch(request, context):
    count("watch", context)
    print("began", flush=True)
    number = 0
    while context.is_active():
        yield str(number).encode()
        number += 1
        time.sleep(0.01)


def collect(requests, context):
    parts = [part for part in requests]
    context.set_trailing_metadata([("x-late", str(len(parts)))])
    return b"".join(parts)


def chat(requests, context):
    print("began", flush=True)
    for part in requests:
        yield part.upper()
    context.set_trailing_metadata([("x-late", "bye")])


handlers = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    "Remaining": grpc.unary_unary_rpc_method_handler(remaining),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Ended": grpc.unary_unary_rpc_method_handler(lambda call, _: str(ended[call.decode()]).encode()),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Bytes", handlers)])
server.add_insecure_port(f"[::]:{sys.argv[1]}")
server.start()
server.wait_for_termination()
