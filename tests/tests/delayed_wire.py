"""Carries frames between two interfaces, each a while later: python3 delayed_wire.py ONE OTHER SECONDS."""

import collections
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 3
LONGEST = 1 << 17


def opened(interface):
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    # What is still to be done to a frame (check sums, segments) travels with it.
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    packets.bind((interface, ETH_P_ALL))
    return packets


ends = [opened(name) for name in sys.argv[1:3]]
delay = float(sys.argv[3])
waiting = collections.deque()
print("carries", flush=True)
while True:
    left = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    for end in select.select(ends, [], [], left)[0]:
        waiting.append((time.monotonic() + delay, ends[end is ends[0]], end.recv(LONGEST)))
    while waiting and waiting[0][0] <= time.monotonic():
        _, to, frame = waiting.popleft()
        try:
            to.send(frame)
        except OSError:
            pass  # the other side is gone, or not there yet
