"""A gRPC client of bytes, by grpcio: `grpc_client.py HOST:PORT CALL` makes one call of the server's, or several on one connection, and
prints what came of it as JSON."""
import json, queue, sys, time

import grpc

target, what = sys.argv[1:3]
channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
PATIENCE = 15


def method(kind, name):
    return getattr(channel, kind)(f"/test.Bytes/{name}")


def texts(metadata):
    return {key: value if isinstance(value, str) else value.hex() for key, value in metadata or []}


def facts(call, answer):
    return {
        "answer": answer.decode() if isinstance(answer, bytes) else answer,
        "code": call.code().name,
        "details": call.details(),
        "early": texts(call.initial_metadata()),
        "late": texts(call.trailing_metadata()),
    }


def unary(name, request=b"hello", timeout=PATIENCE, early="bird"):
    try:
        answer, call = method("unary_unary", name).with_call(request, timeout, metadata=[("x-early", early)])
        return facts(call, answer)
    except grpc.RpcError as error:
        return facts(error, None)


def collect():
    answer, call = method("stream_unary", "Collect").with_call((b"%d," % n for n in range(50)), PATIENCE)
    return facts(call, answer)


def chat():
    """Each message is sent when the answer to the one before has come: nothing on the way may wait for more."""
    sending = queue.Queue()
    call = method("stream_stream", "Chat")(iter(sending.get, None), PATIENCE)
    heard = []
    for word in [b"one", b"two", b"three"]:
        sending.put(word)
        heard.append(next(call).decode())
    sending.put(None)
    assert next(call, None) is None
    return facts(call, heard)


def server_saw_the_end_of(name):
    """Asked on the same connection, which stays open: what the server saw is the end of a call and not that of a connection."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if unary("Ended", name)["answer"] == "1":
            return True
        time.sleep(0.02)
    return False


def cancel():
    call = method("unary_stream", "Watch")(b"", PATIENCE)
    heard = [next(call).decode() for _ in range(3)]
    before = unary("Ended", b"watch")["answer"]
    call.cancel()
    return {"heard": heard, "before": before, "code": call.code().name, "seen": server_saw_the_end_of(b"watch")}


def deadline():
    """The deadline of a call as the server sees it, of one without, and of one that passes."""
    near, none = unary("Remaining", timeout=7)["answer"], unary("Remaining", timeout=None)["answer"]
    late = unary("Sleep", timeout=0.3)
    return {"near": float(near), "none": none, "late": late["code"], "seen": server_saw_the_end_of(b"sleep")}


def large():
    return unary("Echo", early="y" * 20_000)


def lost():
    """A call whose server is killed by somebody meanwhile, and one more by another server."""
    call = method("unary_stream", "Watch")(b"", PATIENCE)
    try:
        for _ in call:
            pass
    except grpc.RpcError:
        pass
    again = method("unary_unary", "Echo").with_call(b"again", PATIENCE)[0]
    return facts(call, again)


def long():
    """A call of two seconds."""
    words = ["word%d" % n for n in range(20)]

    def slowly():
        for word in words:
            yield word.encode()
            time.sleep(0.1)

    call = method("stream_stream", "Chat")(slowly(), PATIENCE)
    heard = [part.decode() for part in call]
    return facts(call, heard == [word.upper() for word in words])


calls = {"lost": lost, "long": long, "large": large, "collect": collect, "chat": chat, "cancel": cancel, "deadline": deadline}
print(json.dumps(calls[what]() if what in calls else unary(what)))
