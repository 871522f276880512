"""Tries to reach the engine and the kernel's switches: sockets, control groups, /proc/sys, mounts, device nodes."""

import contextlib
import ctypes
import os
import socket
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
reached = []
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as wire:
        wire.connect(path)
        reached.append(path)
for path in (
    "/proc/sys/kernel/core_pattern",
    "/proc/sysrq-trigger",
    "/proc/sys/vm/drop_caches",
    "/sys/kernel/uevent_helper",
):
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY))
        reached.append(path)
for folder, _, files in os.walk("/sys/fs/cgroup"):
    for path in (os.path.join(folder, name) for name in files):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))
            reached.append(path)
os.makedirs("place", exist_ok=True)
for source, kind in ((b"none", b"tmpfs"), (b"proc", b"proc"), (b"cgroup", b"cgroup"), (b"/", None)):
    if libc.mount(source, b"place", kind, 4096 if kind is None else 0, None) == 0:
        reached.append(("mount", source))
if libc.umount2(b"/run/subject", 2) == 0:
    reached.append("umount")
with contextlib.suppress(OSError):
    os.chroot("place")
    reached.append("chroot")
for number in ((8, 0), (8, 1), (1, 1), (10, 200)):
    with contextlib.suppress(OSError):
        os.mknod("place/device", stat.S_IFBLK | 0o666, os.makedev(*number))
        reached.append(("mknod", number))
print("reached:", reached)
sys.exit(3)
