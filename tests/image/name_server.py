"""A name server on 127.0.0.1 that knows one name: name-server.py NAME ADDRESS."""

import socket
import struct
import sys

name, address = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", 53))
    while True:
        query, client = server.recvfrom(512)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack_from("!H", query, at + 1)[0]
        known = ".".join(labels) == name
        answers = [struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address)] if known and kind == 1 else []
        # An answer, authoritative; "no such name" (3) for every other.
        header = query[:2] + struct.pack("!HHHHH", 0x8400 | (0 if known else 3), 1, len(answers), 0, 0)
        server.sendto(header + query[12 : at + 5] + b"".join(answers), client)
