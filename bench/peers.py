# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots a guest under QEMU or perfvisor and times what it does, by the host's clocks alone.

The guest writes a line beginning with "@@" to its second serial port where something begins and
where it ends. The line is stamped as it arrives here: with the wall clock, and with the processor
time that the peer's process has used. No clock of the guest is believed.
"""

import dataclasses
import os
import re
import secrets
import selectors
import signal
import subprocess
import time

MEMORY_MIB = 256
_MARK = "@@ "
_TRAILER = b"\x1eperfvisor-exit "


@dataclasses.dataclass
class Timing:
    """What one workload took in one boot, seconds, and what it printed."""

    wall: float
    cpu: float
    output: str
    status: int = 0


@dataclasses.dataclass
class Boot:
    """One boot: what was measured before it ended, and why it ended where that was too early."""

    timings: dict = dataclasses.field(default_factory=dict)
    notes: dict = dataclasses.field(default_factory=dict)
    failure: str | None = None
    resident_mib: float | None = None  # of the process
    beyond_ram_mib: float | None = None  # of this, not guest RAM


def cpio(files, directories=()):
    """A "newc" archive of {name: (mode, bytes)}, as Linux unpacks it into its first file system."""
    out = bytearray()

    def entry(inode, mode, name, content):
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out.extend(b"070701" + b"".join(b"%08x" % field for field in fields))
        out.extend(name.encode() + b"\0")
        out.extend(bytes(-len(out) % 4))
        out.extend(content)
        out.extend(bytes(-len(out) % 4))

    inode = 1
    for name in directories:
        entry(inode, 0o040755, name, b"")
        inode += 1
    for name, (mode, content) in files.items():
        entry(inode, mode, name, content)
        inode += 1
    entry(0, 0, "TRAILER!!!", b"")
    return bytes(out)


def append_archive(initrd, archive):
    """Archives behind one another in one initrd begin at multiples of 4."""
    return initrd + bytes(-len(initrd) % 4) + archive


class Qemu:
    """qemu-system-ppc; the command is put into the initrd as `perfvisor run --exec` does it."""

    def __init__(self, program="qemu-system-ppc", cpus=1):
        self.name = "QEMU"
        self._program = program
        self._cpus = cpus

    def version(self):
        text = subprocess.run([self._program, "--version"], capture_output=True, text=True,
                              check=True).stdout
        return text.splitlines()[0]

    def command(self, kernel, initrd, script, directory):
        with open(initrd, "rb") as file:
            content = file.read()
        own = os.path.join(directory, "qemu-initrd")
        files = {"perfvisor/command": (0o100644, script.encode()),
                 "perfvisor/token": (0o100644, secrets.token_hex(16).encode())}
        with open(own, "wb") as file:
            file.write(append_archive(content, cpio(files, ["perfvisor"])))
        return self.bare_command(kernel, os.path.join(directory, "qemu-console")) + [
            "-serial", "stdio", "-initrd", own, "-append", "console=ttyS0"]

    def bare_command(self, kernel, console=None):
        """Without console, the first serial port is on standard output."""
        return [self._program, "-M", "ppce500", "-cpu", "e500mc", "-m", str(MEMORY_MIB),
                "-smp", str(self._cpus), "-nodefaults", "-display", "none", "-no-reboot",
                "-kernel", kernel,
                "-serial", f"file:{console}" if console else "stdio"]


class Perfvisor:
    """perfvisor with one of its engines, following the wall clock as QEMU does."""

    def __init__(self, program, engine, options=()):
        self.name = f"perfvisor ({engine})"
        self._program = program
        self.engine = engine
        self._options = list(options)

    def command(self, kernel, initrd, script, directory):
        return self.bare_command(kernel) + [
            "--initrd", initrd, "--append", "console=ttyS0", "--exec", script,
            "--console-log", os.path.join(directory, "perfvisor-console")]

    def bare_command(self, kernel):
        return [self._program, "run", f"--engine={self.engine}", "--clock=host", "-m",
                f"{MEMORY_MIB}M", "--no-reboot", "--kernel", kernel, *self._options]


def process_cpu_seconds(pid):
    """Processor time of all of a process's threads, alive and gone, to the nanosecond: the clock
    that clock_getcpuclockid(3) names."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_mib(pid):
    """(all, without guest RAM) of what a process has in memory, MiB. Guest RAM is whatever mapping
    is as large as it. Shared pages count by their share (Pss): code that a translator writes through
    one mapping and executes through another is one page, not two."""
    total = guest = size = 0
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            field, _, value = line.partition(":")
            if field == "Size":
                size = int(value.split()[0])
            elif field == "Pss":
                share = int(value.split()[0])
                total += share
                if size >= MEMORY_MIB * 1024:
                    guest += share
    return total / 1024, (total - guest) / 1024


class _Marks:
    """Turns stamped lines into timings."""

    def __init__(self, pid, started):
        self._pid = pid
        self._started = started
        self.boot = Boot()
        self.running = "boot"
        self._begun = (started, 0.0)
        self._output = []
        self.finished = False

    def line(self, text, now, cpu):
        if not text.startswith(_MARK):
            self._output.append(text)
            return
        word, _, rest = text[len(_MARK):].partition(" ")
        if word == "booted":
            self._end("boot", 0, now, cpu)
        elif word == "begin":
            self.running = rest
            self._begun = (now, cpu)
            self._output = []
        elif word == "end":
            name, _, status = rest.rpartition(" ")
            self._end(name, int(status) if status.isdigit() else -1, now, cpu)
        elif word == "note":
            name, _, note = rest.partition(" ")
            found = re.match(r"(.*\|\d+)\s*(.*)", rest)
            if found:
                name, note = found.groups()
            self.boot.notes[name] = note
        elif word == "finished":
            self.finished = True
            self.boot.resident_mib, self.boot.beyond_ram_mib = memory_mib(self._pid)

    def _end(self, name, status, now, cpu):
        wall, used = now - self._begun[0], cpu - self._begun[1]
        self.boot.timings[name] = Timing(wall, used, "\n".join(self._output), status)
        self._output = []
        self.running = f"after {name}"


def run_boot(peer, kernel, initrd, script, directory, patience=180.0):
    """Boots, runs `script`, and gives a Boot. A peer that is silent for `patience` seconds is ended
    and what it was doing is reported."""
    command = peer.command(kernel, initrd, script, directory)
    messages = open(os.path.join(directory, "messages"), "w+b")
    started = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=messages, start_new_session=True)
    marks = _Marks(process.pid, started)
    waiter = selectors.DefaultSelector()
    waiter.register(process.stdout, selectors.EVENT_READ)
    pending = b""
    ended = False
    try:
        while True:
            if not waiter.select(patience):
                marks.boot.failure = f"silent for {patience:.0f} s ({marks.running}); ended"
                break
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                ended = True
                break
            now = time.monotonic()
            cpu = process_cpu_seconds(process.pid)
            pending += data
            *lines, pending = pending.split(b"\n")
            for line in lines:
                # The guest's init writes its trailer here where nobody takes it off.
                if not line.startswith(_TRAILER):
                    marks.line(line.decode("latin-1").rstrip("\r"), now, cpu)
    finally:
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        process.stdout.close()
    if marks.boot.failure is None and not marks.finished:
        messages.seek(0)
        said = messages.read().decode("latin-1").strip().splitlines()
        marks.boot.failure = (f"ended with status {status} ({marks.running})"
                              + (f": {said[-1]}" if said else ""))
    messages.close()
    return marks.boot
