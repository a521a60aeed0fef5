"""A resolver of the outside world: answers every A with one address; long.example is too long for a datagram.

Names with `silent` in them get no answer, those with `slow` a late one. Arguments: the address to listen on, a file in
which it notes what it was asked, and the address that it answers or the word for what it fails with.
"""

import socket
import struct
import sys
import threading
import time
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

ANSWER = sys.argv[3] if len(sys.argv) > 3 else "203.0.113.5"
SLOW_SECONDS = 2.0


def reply(data: bytes, asked: str, limit: int = 65535) -> bytes:
    query = dns.message.from_wire(data)
    name = query.question[0].name.to_text()
    with Path(asked).open("a") as notes:
        notes.write(name + "\n")
    response = dns.message.make_response(query, recursion_available=True)
    if not ANSWER[0].isdigit():
        response.set_rcode(dns.rcode.from_text(ANSWER))
    elif name == "long.example.":
        texts = [f"203.0.{part // 250}.{part % 250}" for part in range(400)]
        response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", texts))
    else:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", ANSWER))
    wire = response.to_wire(max_size=65535)
    if len(wire) > limit:
        response.answer.clear()
        response.flags |= dns.flags.TC
        wire = response.to_wire()
    return wire


def serve_datagrams(address: str, asked: str) -> None:
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, 53))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        data, asker = datagrams.recvfrom(4096)
        if b"silent" not in data:
            wire = reply(data, asked, 1232)
            delay = SLOW_SECONDS if b"slow" in data else 0.0
            threading.Timer(delay, datagrams.sendto, (wire, asker)).start()


def serve_streams(listener: socket.socket, asked: str) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_stream, args=(connection, asked), daemon=True).start()


def serve_stream(connection: socket.socket, asked: str) -> None:
    with connection:
        (length,) = struct.unpack("!H", connection.recv(2))
        data = connection.recv(length)
        wire = reply(data, asked)
        if b"slow" in data:
            time.sleep(SLOW_SECONDS)
        connection.sendall(struct.pack("!H", len(wire)) + wire)


if __name__ == "__main__":
    streams = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    streams.bind((sys.argv[1], 53))
    streams.listen()
    threading.Thread(target=serve_streams, args=(streams, sys.argv[2]), daemon=True).start()
    serve_datagrams(sys.argv[1], sys.argv[2])
