"""What a process may still do once it decodes what strangers send: reckon, and use what it holds. Linux only.

Limits hold everywhere; the filter of system calls is Linux's seccomp, asked for through libc, without a dependency. It
stands for the life of the process and for all that it starts. Whoever takes the codec over by a crafted recording
finds no file that he can open, no address that he can call, no program that he can start, nobody whom he can end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NO_NEW_PRIVS, SECCOMP, MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
LOAD, JUMP_EQ, JUMP_GE, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h: words of the program
ALLOW, DENY, UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000 | errno.ENOSYS
CLONE_THREAD = 0x10000
CLONE3 = 435  # its flags are out of sight; where it is unknown, libc takes clone
NUMBER_AT, ARCH_AT, FIRST_AT = 0, 4, 16  # of struct seccomp_data
X32 = 0x40000000  # another way to spell the calls of x86_64

# Calls that open, connect, start, signal, or change a file's name; by the name that uname gives a machine
NEWER = (
    424,
    425,
    428,
    429,
    434,
    437,
    438,
)  # pidfd_send_signal io_uring_setup open_tree move_mount pidfd_open openat2 ..
FORBIDDEN: dict[
    str, tuple[int, int, int, tuple[int, ...]]
] = {  # (its number in linux/audit.h, tgkill, clone, the others)
    "x86_64": (
        0xC000003E,
        234,
        56,
        (
            *(2, 85, 257, 304),  # open creat openat open_by_handle_at
            *(41, 42, 43, 49, 50, 53, 288),  # socket connect accept bind listen socketpair accept4
            *(57, 58, 59, 322),  # fork vfork execve execveat
            *(62, 200, 129, 297, 101, 310, 311),  # kill tkill rt_sigqueueinfo rt_tgsigqueueinfo ptrace process_vm_*
            *(76, 80, 82, 83, 84, 86, 87, 88, 90, 92, 133, 161, 165, 188),  # truncate chdir rename mkdir .. setxattr
            *(258, 259, 260, 263, 264, 265, 266, 268, 316),  # mkdirat .. renameat2
            *(298, 321, 323),  # perf_event_open bpf userfaultfd
            *NEWER,
        ),
    ),
    "aarch64": (
        0xC00000B7,
        131,
        220,
        (
            *(56, 265),
            *(198, 199, 200, 201, 202, 203, 242),
            *(221, 281),
            *(129, 130, 138, 240, 117, 270, 271),
            *(45, 49, 51, 5, 40),
            *(33, 34, 35, 36, 37, 38, 53, 54, 276),
            *(241, 280, 282),
            *NEWER,
        ),
    ),
}


def confine() -> str | None:
    """Forbid this process what decoding does not need. Returns why that cannot be, None where it is done."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in FORBIDDEN:
        return f"{sys.platform} on {machine} has no filter of system calls that is known here"
    lines = _program(*FORBIDDEN[machine])
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    # struct sock_fprog: the length, and, aligned, where the lines are
    program = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(n) for n in (1, 0, 0, 0)]
    if libc.prctl(NO_NEW_PRIVS, *arguments) or libc.prctl(SECCOMP, ctypes.c_ulong(MODE_FILTER), program, 0, 0):
        return f"this system refuses a filter of system calls ({os.strerror(ctypes.get_errno())})"
    return None


def _program(arch: int, tgkill: int, clone: int, forbidden: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Lines (code, lines to skip if so, if not, number).

    Signals may go to threads of this process alone, which abort() needs; and there may be new threads, no processes.
    """
    deny, allow = (RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)
    lines = [(LOAD, 0, 0, ARCH_AT), (JUMP_EQ, 1, 0, arch), deny, (LOAD, 0, 0, NUMBER_AT)]
    lines += [(JUMP_GE, 0, 1, X32), deny, (JUMP_EQ, 0, 1, CLONE3), (RETURN, 0, 0, UNKNOWN)]
    for number in forbidden:
        lines += [(JUMP_EQ, 0, 1, number), deny]
    lines += [(JUMP_EQ, 0, 4, tgkill), (LOAD, 0, 0, FIRST_AT), (JUMP_EQ, 0, 1, os.getpid()), allow, deny]
    lines += [(JUMP_EQ, 0, 4, clone), (LOAD, 0, 0, FIRST_AT), (JUMP_SET, 0, 1, CLONE_THREAD), allow, deny]
    return [*lines, allow]
