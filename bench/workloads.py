# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks run in the guest, and the same on the host where the program exists there."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Workload:
    """One line of the table.

    guest      shell command in the guest; its output is what the peers must agree on
    native     the same on the host (None: there is no such program); {kernels} and {busybox} stand
               for the programs, {links} for a directory with a BusyBox link, {data} for the text
    repeats    how often `native` does the guest's work, so that it runs long enough to be timed
    check      command on the host whose output must be the guest's, where it is not `native`
    rounded    only the first word of the output must be the host's: the host fuses no multiply
               and add, so the last bits differ
    marks_itself  the program writes its marks, so that its start is not in the time
    """

    name: str
    group: str
    guest: str
    native: str | None = None
    repeats: int = 1
    check: str | None = None
    rounded: bool = False
    marks_itself: bool = False


KERNELS = "/perfvisor-bench/kernels"
DATA_BYTES = 1_500_000


def _kernel(name, group, rounds, native_repeats):
    """Rounds for half a second in QEMU; natively more of them."""
    return Workload(
        name,
        group,
        f"{KERNELS} --mark {name} {name} {rounds}",
        f"{{kernels}} {name} {rounds * native_repeats}",
        native_repeats,
        f"{{kernels}} {name} {rounds}",
        group == "floating point",
        True,
    )


def _busybox(name, command):
    return Workload(name, "BusyBox", f"{command} </tmp/data", f"{{busybox}} {command} <{{data}}")


_AWK = "awk '{ for (i = 1; i <= NF; ++i) ++n[$i] } END { print n[\"counter\"], NR }'"

BOOT = Workload("boot", "boot", "")

# In this order in one boot. The groups come in the order in which the table shows them.
GUEST = [
    _kernel("sort", "integer", 30, 4),
    _kernel("hash", "integer", 250, 10),
    _kernel("matrix", "integer", 120, 10),
    _kernel("lexer", "integer", 150, 10),
    _kernel("list", "integer", 1000, 10),
    _kernel("search", "integer", 60, 4),
    _kernel("nbody", "floating point", 300, 50),
    _kernel("fmatrix", "floating point", 25, 50),
    _kernel("spectral", "floating point", 300, 50),
    _kernel("fft", "floating point", 25, 20),
    _busybox("sha256sum", "sha256sum"),
    # Unpacked again at once, a small part of the work, as distributions choose different searches
    # and so get different files.
    Workload(
        "gzip -9", "BusyBox", "gzip -9 -c </tmp/data | gunzip -c | sha256sum",
        "{busybox} gzip -9 -c <{data} | {busybox} gunzip -c | {busybox} sha256sum",
    ),
    Workload(
        "bzip2", "BusyBox", "head -c 400000 /tmp/data | bzip2 -c | sha256sum",
        "{busybox} head -c 400000 {data} | {busybox} bzip2 -c | {busybox} sha256sum",
    ),
    Workload(
        "awk", "BusyBox", f"head -c 150000 /tmp/data | {_AWK}",
        f"{{busybox}} head -c 150000 {{data}} | {{busybox}} {_AWK}",
    ),
    Workload(
        "fork+exec 300 ls", "system",
        "i=0; while [ $i -lt 300 ]; do /bin/ls -d / >/dev/null; i=$((i+1)); done",
        # A link named ls, as in the guest.
        "i=0; while [ $i -lt 300 ]; do {links}/ls -d / >/dev/null; i=$((i+1)); done",
    ),
    Workload("syscalls", "system", "perf bench syscall basic --loop 200000 >/dev/null 2>&1"),
    Workload("pipes", "system", "perf bench sched pipe --loop 5000 >/dev/null 2>&1"),
    Workload("memcpy", "system", "perf bench mem memcpy -s 1MB -l 300 >/dev/null 2>&1"),
    Workload("page faults", "system", f"{KERNELS} faults 15", "{kernels} faults 15"),
    Workload("2000 short sleeps", "system", f"{KERNELS} sleep 2000", "{kernels} sleep 2000"),
]

# --- What counting costs: perfvisor only ---------------------------------------------------------

# Each is the same run of a kernel, marked by the kernel itself, so that perf's own start and end
# do not count. The first is what the others are compared with.
COUNTING = {
    "no counter": "",
    "4 exact events": "perf stat -e cycles,instructions,branches,r0d -o /dev/null ",
    "1000 samples/s": "perf record -q -N -B -e cycles -F 1000 -o /tmp/perf.data ",
    "10000 samples/s": "perf record -q -N -B -e cycles -F 10000 -o /tmp/perf.data ",
    "micro-ops": "perf stat -e r03 -o /dev/null ",
    "branch prediction": "perf stat -e branch-misses -o /dev/null ",
    "caches and TLBs": "perf stat -e cache-misses -o /dev/null ",
    "pipeline": "perf stat -e stalled-cycles-backend -o /dev/null ",
}
# Nothing is counted, in a guest whose clock is the timing model's.
TIMED = {"--timing=e500mc": ""}
# These run the timing model, which takes a multiple of the time: one in so many of the translator's
# rounds is enough, and their time is multiplied.
MODELLED = {"micro-ops": 1, "branch prediction": 4, "caches and TLBs": 5, "pipeline": 10,
            "--timing=e500mc": 4}


def counted_part(way, factor):
    """One in how many rounds; `factor` says how much faster than the interpreter the engine is."""
    if way not in MODELLED:
        return 1
    return 5 if factor == 1 else MODELLED[way]


COUNTED_KERNELS = {"sort": 15, "lexer": 75}  # rounds, for the interpreter
TRANSLATOR_FACTOR = 8  # times as many for the translator, so that both run for a second or two


# --- Several CPUs: two threads or processes each, on one vCPU and on two -------------------------

# Both on one vCPU take twice as long as one; on two, where the host has two cores to spare, as
# long. They run for so long that what each vCPU translates for itself at the start, some 30 ms, is
# a small part. Two processes begin together, so that the shell's making them one after the other is
# not in the time. The host itself runs the same on one CPU and on two, `native_repeats` times: what
# it has to give is a bound.
def _twice(name, rounds, native_repeats):
    label = f"{name}, twice at once"
    return Workload(label, "CPU-bound", f"{KERNELS} --twice --mark '{label}' {name} {rounds}",
                    f"{{kernels}} --twice {name} {rounds * native_repeats}", native_repeats,
                    marks_itself=True)


SMP = [
    _twice("sort", 240, 1),
    _twice("lexer", 1200, 3),
    _twice("nbody", 4800, 10),
    Workload("atomics", "locks", f"{KERNELS} atomics 120", "{kernels} atomics 600", 5),
    Workload("mutexes", "locks", f"{KERNELS} mutexes 60", "{kernels} mutexes 120", 2),
    Workload("messaging", "locks", "perf bench sched messaging -g 2 -l 200 >/dev/null 2>&1"),
]


def guest_script(workloads):
    """The shell script that runs `workloads`, marking the beginning and the end of each."""
    lines = [
        "echo @@ booted",
        f"{KERNELS} data {DATA_BYTES} >/tmp/data",
    ]
    for workload in workloads:
        if workload.marks_itself:
            lines.append(f"{workload.guest} || echo \"@@ end {workload.name} $?\"")
            continue
        lines += [
            f"echo '@@ begin {workload.name}'",
            f"( {workload.guest} )",
            f"echo \"@@ end {workload.name} $?\"",
        ]
    # The harness looks at the process's memory at this mark.
    lines += ["echo @@ finished", "sleep 0.3"]
    return "\n".join(lines) + "\n"


def counting_script(passes, factor, ways):
    """The kernels of COUNTED_KERNELS, `factor` times their rounds, in each of `ways` in turn,
    `passes` times."""
    lines = ["echo @@ booted"]
    for number in range(passes):
        for kernel, rounds in COUNTED_KERNELS.items():
            for way, command in ways.items():
                label = f"{kernel}|{way}|{number}"
                lines.append(f"{command}{KERNELS} --mark '{label}' {kernel} "
                             f"{rounds * factor // counted_part(way, factor)}")
                if "record" in command:
                    lines.append(f"echo '@@ note {label}' $(perf report -i /tmp/perf.data "
                                 "--stats 2>/dev/null | grep -m 1 'SAMPLE events')")
    lines += ["echo @@ finished", "sleep 0.3"]
    return "\n".join(lines) + "\n"
