"""Sends standard input's bytes (after \\-escapes) in the parts given, and prints all that comes back until it ends or is quiet."""
import socket, sys, time

host, port, quiet = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
s = socket.create_connection((host, port))
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for part in sys.argv[4:]:
    if part.startswith("wait:"):
        time.sleep(float(part[5:]))
    elif part == "half-close":
        s.shutdown(socket.SHUT_WR)
    elif part.startswith("until:"):
        data = b""
        while part[6:].encode() not in data:
            more = s.recv(65536)
            if not more:
                break
            data += more
        sys.stdout.write(data.decode("latin1"))
    else:
        s.sendall(part.encode("latin1").decode("unicode_escape").encode("latin1"))
s.settimeout(quiet)
try:
    while data := s.recv(65536):
        sys.stdout.write(data.decode("latin1"))
    sys.stdout.write("<end>")
except TimeoutError:
    sys.stdout.write("<open>")
except ConnectionResetError:
    sys.stdout.write("<reset>")
