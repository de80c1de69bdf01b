# SPDX-License-Identifier: GPL-2.0-or-later
"""The shortest guest there is: it maps the devices, writes one byte and powers the board off. How
long that takes from outside bounds the time from process start to the first guest instruction."""

import os
import select
import struct
import subprocess
import time

_MAS0, _MAS1, _MAS2, _MAS3, _MAS7 = 624, 625, 626, 627, 944
_DEVICES = 0xE0000000  # effective address of the CCSR; physical 0xF_E000_0000
_UART, _GPIO = 0x4500, 0xFF000


def _load(register, value):
    """lis register,HIGH; ori register,register,LOW"""
    return [15 << 26 | register << 21 | value >> 16,
            24 << 26 | register << 21 | register << 16 | (value & 0xFFFF)]


def _mtspr(number, register):
    return 31 << 26 | register << 21 | (number & 31) << 16 | (number >> 5) << 11 | 467 << 1


def _store(opcode, register, base, offset):
    return opcode << 26 | register << 21 | base << 16 | offset


def _program():
    code = []
    # One megabyte, guarded and not cached, supervisor read and write, in entry 1 of TLB1.
    for number, value in ((_MAS0, 0x10010000), (_MAS1, 0xC0000500), (_MAS2, _DEVICES | 0xA),
                          (_MAS3, 0xE0000005), (_MAS7, 0xF)):
        code += _load(3, value) + [_mtspr(number, 3)]
    code += [0x7C0007A4, 0x4C00012C]  # tlbwe; isync
    code += _load(4, _DEVICES) + [14 << 26 | 5 << 21 | ord("!"), _store(38, 5, 4, _UART)]
    # Pin 0 is an output; its rise switches the power off.
    code += _load(6, _DEVICES + _GPIO) + _load(7, 0x80000000)
    code += [14 << 26 | 8 << 21, _store(36, 7, 6, 0), _store(36, 8, 6, 8), _store(36, 7, 6, 8)]
    code += [18 << 26]  # b .
    return struct.pack(f">{len(code)}I", *code)


def write_image(path):
    """Writes the guest as an ELF file with one segment at address 0, where it is entered."""
    code = _program()
    header = struct.pack(">4s5B7xHHIIIIIHHHHHH", b"\x7fELF", 1, 2, 1, 0, 0, 2, 20, 1, 0, 52, 0, 0,
                         52, 32, 1, 0, 0, 0)
    segment = struct.pack(">8I", 1, 84, 0, 0, len(code), len(code), 5, 4)
    with open(path, "wb") as file:
        file.write(header + segment + code)


def start_up(peer, image, patience=20.0):
    """(seconds to the guest's byte, seconds to the process's end) from the process's start. Raises
    RuntimeError with a sentence where the guest did not run."""
    started = time.monotonic()
    with subprocess.Popen(peer.bare_command(image), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            if not select.select([process.stdout], [], [], patience)[0]:
                raise subprocess.TimeoutExpired(process.args, patience)
            byte = os.read(process.stdout.fileno(), 1)
            first = time.monotonic() - started
            _, said = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired as expired:
            process.kill()
            raise RuntimeError(f"the guest did not power off in {patience:.0f} s") from expired
        end = time.monotonic() - started
    if byte != b"!" or process.returncode != 0:
        said = said.decode("latin-1").strip().splitlines()
        raise RuntimeError(f"ended with status {process.returncode}"
                           + (f": {said[-1]}" if said else ""))
    return first, end
