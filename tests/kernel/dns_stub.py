"""A resolver of the outside world: answers every A with 203.0.113.5; long.example is too long for a datagram.

Names of silent.example get no answer; the second argument is a file in which it notes what it was asked.
"""

import socket
import struct
import sys
import threading
from pathlib import Path

import dns.flags
import dns.message
import dns.rrset


def reply(data: bytes, asked: str, limit: int = 65535) -> bytes:
    query = dns.message.from_wire(data)
    name = query.question[0].name.to_text()
    with Path(asked).open("a") as notes:
        notes.write(name + "\n")
    response = dns.message.make_response(query, recursion_available=True)
    if name == "long.example.":
        texts = [f"203.0.{part // 250}.{part % 250}" for part in range(400)]
        response.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", texts))
    else:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "203.0.113.5"))
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
            datagrams.sendto(reply(data, asked, 1232), asker)


def serve_streams(listener: socket.socket, asked: str) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            (length,) = struct.unpack("!H", connection.recv(2))
            wire = reply(connection.recv(length), asked)
            connection.sendall(struct.pack("!H", len(wire)) + wire)


if __name__ == "__main__":
    streams = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    streams.bind((sys.argv[1], 53))
    streams.listen()
    threading.Thread(target=serve_streams, args=(streams, sys.argv[2]), daemon=True).start()
    serve_datagrams(sys.argv[1], sys.argv[2])
