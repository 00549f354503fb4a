"""Whether a client that has stopped sending still waits for its answer.

A client that shuts its sending side and one that is gone say the same thing to a server: that
nothing more will come. What tells them apart is what becomes of the next byte sent to them, so
while a stream flows nothing need be asked. Before that, the kernel is asked: the other end of a
connection within this machine is a socket that it knows, and one that no process holds has no
inode (see sock_diag(7)).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from typing import Protocol

_TCP_CLOSE = 7  # the state of a connection that was reset
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_NETLINK_SOCK_DIAG = 4
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, sender
# inet_diag_req_v2: family, protocol, two bytes unused, states; then inet_diag_sockid
_QUESTION = struct.Struct("=BBxxI")
_ANY_COOKIE = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface, and a cookie
_INODE_AT = _HEADER.size + 68  # in inet_diag_msg


class Connection(Protocol):
    """What is needed of a connected socket."""

    @property
    def family(self) -> int: ...
    def getsockname(self) -> tuple[str, int]: ...
    def getpeername(self) -> tuple[str, int]: ...
    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def has_gone(connection: Connection) -> bool | None:
    """Whether nobody will read what is sent; None where only sending would tell."""
    if sys.platform != "linux":
        return None
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    if state[0] == _TCP_CLOSE:
        return True
    try:
        here, there = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError:
        return True
    if here[0] != there[0] and not ipaddress.ip_address(there[0]).is_loopback:
        return None  # on another machine, or in another container
    try:
        return not _is_held(connection.family, there, here)
    except OSError:
        return None  # a kernel, or a sandbox, that does not answer such questions


def _is_held(family: int, local: tuple[str, int], remote: tuple[str, int]) -> bool:
    """Whether a process holds the socket of this machine with these two ends."""
    ports = struct.pack("!HH", local[1], remote[1])
    addresses = b"".join(
        socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (local, remote)
    )
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0xFFFFFFFF)
    question += ports + addresses + _ANY_COOKIE
    size = _HEADER.size + len(question)
    head = _HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.setblocking(False)  # it answers before `send` returns
        kernel.send(head + question)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", answer, _HEADER.size)
        if -code == errno.ENOENT:
            return False
        raise OSError(-code, "the kernel does not say")
    (inode,) = struct.unpack_from("=I", answer, _INODE_AT)
    return bool(inode)
