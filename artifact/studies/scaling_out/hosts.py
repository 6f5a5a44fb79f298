"""Hosts on one machine: network namespaces of Linux, joined by a bridge, and what crosses an interface.

A host is a namespace with one interface, eth0, a veth pair's end; the other end is a port of the bridge, which has a
namespace of its own.  Nothing of this machine's own network is touched.  Every namespace is held open by a process that
waits for the end of its input, so that all vanish with the process that made them, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

INTERFACE = "eth0"
MTU = 1500  # bytes of a frame, its Ethernet header not counted


def address(host: int) -> str:
    """The address of a host, from 0."""
    return f"10.77.0.{host + 1}"


def _ip(holder: int, *words: str) -> None:
    """Run ip in the namespace that a process holds."""
    command = ["nsenter", "-t", str(holder), "-n", "ip", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words[:2])} failed: {done.stderr.strip()}")


@contextmanager
def _namespace() -> Iterator[int]:
    """A new network namespace, until the block ends: the process that holds it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    holder = subprocess.Popen(["unshare", "-n", "cat"], **pipes)
    try:
        with suppress(BrokenPipeError):
            holder.stdin.write(b"in\n")
            holder.stdin.flush()
        said = holder.stdout.readline()  # cat gives it back once it is in its namespace; a refusal comes instead
        if said != b"in\n":
            raise OSError(said.decode().strip())
        yield holder.pid
    finally:
        holder.kill()
        with suppress(BrokenPipeError):
            holder.communicate()


@contextmanager
def hosts(count: int) -> Iterator[list[str]]:
    """Hosts joined by a bridge, until the block ends: the namespace of each, a path for `enter`.

    Frames are of at most `MTU` bytes, one header each, as on a wire: without offloading the counters count a header for
    each segment.  Raises OSError, with the reason, where namespaces may not be made.
    """
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        raise OSError(f"no command {', '.join(missing)}")
    as_wire = ("mtu", str(MTU), "gso_max_segs", "1", "addrgenmode", "none", "up")
    with ExitStack() as stack:
        bridge, *inside = [stack.enter_context(_namespace()) for _ in range(count + 1)]
        _ip(bridge, "link", "add", "name", "bridge0", "type", "bridge")
        _ip(bridge, "link", "set", "bridge0", "addrgenmode", "none", "up")
        for host, own in enumerate(inside):
            port, pair = f"port{host}", ("type", "veth", "peer", "name", INTERFACE, "netns", str(own))
            _ip(bridge, "link", "add", "name", port, *pair)
            _ip(bridge, "link", "set", port, "master", "bridge0")
            _ip(bridge, "link", "set", port, *as_wire)
            _ip(own, "link", "set", INTERFACE, *as_wire)
            _ip(own, "link", "set", "lo", "up")
            _ip(own, "address", "add", f"{address(host)}/24", "dev", INTERFACE)
        yield [f"/proc/{own}/ns/net" for own in inside]


def enter(namespace: str) -> None:
    """Move this process, before it has other threads, into a network namespace."""
    with open(namespace) as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):  # os.setns is there from Python 3.12 on
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}: {os.strerror(ctypes.get_errno())}")


def refusal() -> str:
    """Why hosts cannot be made here; "" where they can."""
    try:
        with hosts(1):
            return ""
    except OSError as error:
        return str(error) or type(error).__name__


def bytes_sent(interface: str = INTERFACE) -> int:
    """Bytes that this process's namespace has sent through an interface: all frames, headers included."""
    lines = (line.split(":", 1) for line in Path("/proc/self/net/dev").read_text().splitlines() if ":" in line)
    return int({name.strip(): counts for name, counts in lines}[interface].split()[8])
