#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench: the same kernel, initrd and commands under QEMU and under perfvisor, in turn.

Prints medians and ratios; --json FILE writes every single measurement too.
"""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bare_metal
import peers
import workloads


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values) if values else None


def geometric_mean(values):
    return statistics.geometric_mean(values) if values else None


def shown(value, pattern):
    return "–" if value is None else format(value, pattern)


def table(header, rows):
    """Markdown, readable as text: the first column to the left, the others to the right."""
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]

    def line(row):
        cells = [str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


# --- Measuring -----------------------------------------------------------------------------------


class Native:
    """The same programs on the host."""

    name = "native"

    def __init__(self, kernels, busybox, directory):
        self._names = {"kernels": kernels, "busybox": busybox,
                       "links": directory if busybox else None,
                       "data": os.path.join(directory, "data")}
        self._checks = {}
        with open(self._names["data"], "wb") as data:
            subprocess.run([kernels, "data", str(workloads.DATA_BYTES)], stdout=data, check=True)
        if busybox:
            os.symlink(busybox, os.path.join(directory, "ls"))

    def _command(self, text):
        """["sh", "-c", `text` for this host]; None where it needs a program that is not there."""
        for name, value in self._names.items():
            if f"{{{name}}}" in text and value is None:
                return None
            text = text.replace(f"{{{name}}}", value or "")
        return ["sh", "-c", text]

    def run(self, workload, cpus=None):
        """A Timing, or None where this host has no such program; on so many of its CPUs."""
        command = workload.native and self._command(workload.native)
        if not command:
            return None
        keep_to = sorted(os.sched_getaffinity(0))[:cpus]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: os.sched_setaffinity(0, keep_to))
        wall = time.monotonic() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        if workload.check and workload.name not in self._checks:
            self._checks[workload.name] = subprocess.run(
                self._command(workload.check), capture_output=True, text=True, check=False).stdout
        output = self._checks.get(workload.name, done.stdout)
        return peers.Timing(wall / workload.repeats, cpu / workload.repeats, output.strip(),
                            done.returncode)


def measure(contestants, chosen, rounds, where):
    """{peer: {workload: [Timing]}}, with the peers in turn in each round, and what went wrong."""
    script = workloads.guest_script(chosen)
    results, failures, memory = {}, [], {}
    for number in range(max(rounds.values(), default=0)):
        for peer in contestants:
            if number >= rounds[peer.name]:
                continue
            say(f"round {number + 1}: {peer.name}")
            timings = results.setdefault(peer.name, {})
            if isinstance(peer, Native):
                for workload in chosen:
                    timing = peer.run(workload)
                    if timing:
                        timings.setdefault(workload.name, []).append(timing)
                continue
            boot = peers.run_boot(peer, where.kernel, where.initrd, script, where.directory)
            for name, timing in boot.timings.items():
                timings.setdefault(name, []).append(timing)
            if boot.failure:
                failures.append(f"{peer.name}, round {number + 1}: {boot.failure}")
            if boot.resident_mib is not None:
                memory.setdefault(peer.name, []).append((boot.resident_mib, boot.beyond_ram_mib))
    return results, failures, memory


def check_outputs(results, chosen):
    """Sentences about commands that failed, and about peers that do not agree on what came out."""
    found = []
    for workload in chosen:
        reference = None
        # Native last: where it only agrees roughly, the others must agree to the bit.
        for peer in sorted(results, key=lambda name: name == Native.name):
            for timing in results[peer].get(workload.name, []):
                printed = timing.output.strip()
                if timing.status != 0:
                    found.append(f"{peer}: {workload.name} ended with status {timing.status}: "
                                 f"{printed[-200:]}")
                    continue
                if reference is None:
                    reference = (peer, printed)
                expected = reference[1]
                if peer == Native.name and workload.rounded:
                    printed, expected = printed.split()[:1], expected.split()[:1]
                if printed != expected:
                    found.append(f"{workload.name}: {peer} prints \"{printed[:80]}\", "
                                 f"{reference[0]} \"{expected[:80]}\"")
    return sorted(set(found))


def measure_counting(peer, passes, where):
    """{"kernel|way": [Timing, one a pass]} of two boots, their notes, and what went wrong."""
    say(f"counting under {peer.name}")
    factor = workloads.TRANSLATOR_FACTOR if peer.engine == "translator" else 1
    boots = [
        peers.run_boot(peers.Perfvisor(where.program, peer.engine, options), where.kernel,
                       where.initrd, workloads.counting_script(passes, factor, ways),
                       where.directory)
        for options, ways in ((["--reserve-perfmon=required"], workloads.COUNTING),
                              (["--timing=e500mc"], workloads.TIMED))]
    results, notes = {}, {}
    for label, timing in [item for boot in boots for item in boot.timings.items()]:
        name, bar, _ = label.rpartition("|")
        if not bar:
            continue
        part = workloads.counted_part(name.rpartition("|")[2], factor)
        results.setdefault(name, []).append(
            dataclasses.replace(timing, wall=timing.wall * part, cpu=timing.cpu * part))
    for label, note in boots[0].notes.items():
        found = re.search(r"SAMPLE events:\s*(\d+)", note)
        if found:
            notes.setdefault(label.rpartition("|")[0], []).append(int(found.group(1)))
    failures = [f"counting: {boot.failure}" for boot in boots if boot.failure]
    for kernel in workloads.COUNTED_KERNELS:
        for way, command in {**workloads.COUNTING, **workloads.TIMED}.items():
            name = f"{kernel}|{way}"
            if len(results.get(name, [])) != passes:
                failures.append(f"counting: {kernel} with {way} did not run {passes} times")
            elif "record" in command and not min(notes.get(name, [0])):
                failures.append(f"counting: {kernel} with {way} took no samples")
    return results, notes, failures


def measure_smp(engine, rounds, where, with_qemu, native):
    """{(peer, CPUs): {workload: [Timing]}} with one vCPU and with two, in turn, and what went
    wrong. `native` is None where the host has no kernels."""
    script = workloads.guest_script(workloads.SMP)
    results, failures = {}, []
    for number in range(rounds):
        for cpus in (1, 2):
            contestants = [peers.Perfvisor(where.program, engine, ["-smp", str(cpus)])]
            if with_qemu:
                contestants.insert(0, peers.Qemu(cpus=cpus))
            for peer in contestants:
                say(f"round {number + 1} of {cpus} vCPU{'s' * (cpus > 1)}: {peer.name}")
                boot = peers.run_boot(peer, where.kernel, where.initrd, script, where.directory)
                own = results.setdefault((peer.name, cpus), {})
                for name, timing in boot.timings.items():
                    own.setdefault(name, []).append(timing)
                if boot.failure:
                    failures.append(f"{peer.name} with {cpus} vCPUs: {boot.failure}")
        for workload in workloads.SMP if native else ():
            for cpus in (1, 2):
                timing = native.run(workload, cpus)
                if timing:
                    own = results.setdefault((Native.name, cpus), {})
                    own.setdefault(workload.name, []).append(timing)
                    if timing.status != 0:
                        failures.append(f"native: {workload.name} ended with {timing.status}")
    for workload in workloads.SMP:
        printed = {timing.output for (peer, _), own in results.items() if peer != Native.name
                   for timing in own.get(workload.name, []) if timing.status == 0}
        if len(printed) != 1:
            failures.append(f"{workload.name}: results differ or are missing: {sorted(printed)}")
    return results, failures


def measure_start_up(contestants, tries, where):
    image = os.path.join(where.directory, "start-up.elf")
    bare_metal.write_image(image)
    results, failures = {}, []
    for _ in range(tries):
        for peer in contestants:
            try:
                results.setdefault(peer.name, []).append(bare_metal.start_up(peer, image))
            except RuntimeError as error:
                failures.append(f"{peer.name}, start-up: {error}")
    return results, sorted(set(failures))


def micro_benchmarks(program, quick):
    """Google Benchmark's results as JSON; None where the program was not built."""
    if not os.path.exists(program):
        return None
    say(os.path.basename(program))
    # In turn, so that a slow moment of the machine is not all of one benchmark's.
    done = subprocess.run([program, "--benchmark_format=json", "--benchmark_repetitions=7",
                           "--benchmark_enable_random_interleaving=true",
                           f"--benchmark_min_time={0.02 if quick else 0.1}"],
                          capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["benchmarks"] if done.returncode == 0 else None


# --- Showing -------------------------------------------------------------------------------------


def medians(results, clock):
    return {peer: {name: median([getattr(timing, clock) for timing in timings])
                   for name, timings in by_name.items()} for peer, by_name in results.items()}


def paired_ratio(a, b, clock):
    """Median over the rounds of a/b: what disturbs a round disturbs both of its runs."""
    pairs = [(getattr(x, clock), getattr(y, clock)) for x, y in zip(a, b)]
    return median([x / y for x, y in pairs if y > 0])


def show_comparison(results, chosen, tested):
    """A table for each perfvisor engine; gives the ratios, for --json."""
    summary = {}
    wall, cpu = medians(results, "wall"), medians(results, "cpu")
    qemu, native = results.get("QEMU", {}), results.get(Native.name, {})
    for peer in tested:
        own = results.get(peer.name, {})
        rows, ratios = [], {"wall": {}, "cpu": {}}
        percents = {}
        for workload in [workloads.BOOT, *chosen]:
            name = workload.name
            ratio = {clock: paired_ratio(qemu.get(name, []), own.get(name, []), clock)
                     for clock in ("wall", "cpu")}
            for clock, value in ratio.items():
                if value is not None:
                    ratios[clock].setdefault(workload.group, {})[name] = value
            percent = None
            if name in native and name in own:
                # By processor time: a pipe's two ends have a processor each here, one in the guest.
                percent = 100 * cpu[Native.name][name] / cpu[peer.name][name]
                percents.setdefault(workload.group, {})[name] = percent
            rows.append([name, shown(wall.get("QEMU", {}).get(name), ".3f"),
                         shown(wall.get(peer.name, {}).get(name), ".3f"),
                         shown(ratio["wall"], ".2f"), shown(ratio["cpu"], ".2f"),
                         shown(cpu.get(Native.name, {}).get(name), ".4f"),
                         shown(percent, ".0f")])
        print(f"\n{peer.name} against QEMU: medians, seconds of wall time; ratios above 1 mean "
              "faster than QEMU;\nnative and % of native by processor time\n")
        print(table(["workload", "QEMU", "perfvisor", "ratio", "ratio of CPU time", "native",
                     "% of native"], rows))
        print()
        means = []
        for group in dict.fromkeys(w.group for w in [workloads.BOOT, *chosen]):
            means.append([group, *(shown(geometric_mean(list(ratios[c].get(group, {}).values())),
                                         ".2f") for c in ("wall", "cpu")),
                          shown(geometric_mean(list(percents.get(group, {}).values())), ".0f")])
        every = {c: geometric_mean([v for g in ratios[c].values() for v in g.values()])
                 for c in ("wall", "cpu")}
        means.append(["all", shown(every["wall"], ".2f"), shown(every["cpu"], ".2f"), "–"])
        print(table(["geometric mean", "ratio", "ratio of CPU time", "% of native"], means))
        summary[peer.name] = {"ratios": ratios, "percent_of_native": percents,
                              "geometric_mean": every}
    return summary


def show_counting(name, results, notes):
    rows, summary = [], {}
    for kernel in workloads.COUNTED_KERNELS:
        base = results.get(f"{kernel}|no counter", [])
        for way in {**workloads.COUNTING, **workloads.TIMED}:
            own = results.get(f"{kernel}|{way}", [])
            wall, cpu = paired_ratio(own, base, "wall"), paired_ratio(own, base, "cpu")
            samples = median(notes.get(f"{kernel}|{way}", []))
            time_taken = median([timing.wall for timing in own])
            rows.append([f"{kernel}, {way}", shown(time_taken, ".3f"), shown(wall, ".3f"),
                         shown(cpu, ".3f"),
                         shown(samples / time_taken if samples and time_taken else None, ".0f")])
            summary[f"{kernel}|{way}"] = {"wall": wall, "cpu": cpu, "samples": samples}
    print(f"\nWhat counting costs, {name}: ratios to the same run without a counter\n")
    print(table(["run", "seconds", "ratio", "ratio of CPU time", "samples/s"], rows))
    return summary


def show_smp(results, engine):
    own = f"perfvisor ({engine})"
    rows, summary = [], {}
    for workload in workloads.SMP:
        timings = {key: by_name.get(workload.name, []) for key, by_name in results.items()}
        seconds = {key: median([timing.wall for timing in value])
                   for key, value in timings.items()}

        def ratio(a, b):
            return paired_ratio(timings.get(a, []), timings.get(b, []), "wall")

        summary[workload.name] = {
            "speed_up": ratio((own, 1), (own, 2)),
            "native_speed_up": ratio((Native.name, 1), (Native.name, 2)),
            "qemu_speed_up": ratio(("QEMU", 1), ("QEMU", 2)),
            "against_qemu": ratio(("QEMU", 2), (own, 2))}
        rows.append([workload.name, *(shown(seconds.get(key), ".3f") for key in
                                      (("QEMU", 1), ("QEMU", 2), (own, 1), (own, 2))),
                     *(shown(value, ".2f") for value in summary[workload.name].values())])
    print("\nTwo vCPUs: seconds of wall time with one and with two, how many times as fast two "
          "are, as\nthe host's own two CPUs are in the same minute, and perfvisor's two against "
          "QEMU's (above 1:\nfaster than QEMU)\n")
    print(table(["work for two", "QEMU, 1", "QEMU, 2", "perfvisor, 1", "perfvisor, 2",
                 "speed-up", "the host's", "QEMU's", "ratio"], rows))
    return summary


def show_start_up(results, memory):
    rows = []
    for peer, tries in results.items():
        resident = median([r for r, _ in memory.get(peer, [])])
        beyond = median([b for _, b in memory.get(peer, [])])
        rows.append([peer, shown(median([a for a, _ in tries]) * 1000, ".1f"),
                     shown(median([b for _, b in tries]) * 1000, ".1f"), shown(resident, ".0f"),
                     shown(beyond, ".1f")])
    print("\nStart and size: milliseconds from process start to the first guest instruction that "
          "is seen\nfrom outside, and to the end of a guest that powers off at once; MiB after all "
          "commands\n")
    print(table(["", "first instruction", "power-off", "resident", "beyond guest RAM"], rows))


def show_micro(title, entries, column, value, time):
    """The best of each benchmark's repetitions: whatever else runs only makes them slower."""
    if not entries:
        print(f"\n{title}: not built or failed")
        return
    best = {}
    for entry in entries:
        if entry["run_type"] == "iteration":
            name = entry["run_name"]
            best[name] = min(best.get(name, entry), entry, key=lambda run: run[time])
    rows = [[name, value(entry)] for name, entry in sorted(
        best.items(), key=lambda one: (one[1]["family_index"],
                                       one[1]["per_family_instance_index"]))]
    print(f"\n{title}\n")
    print(table(["benchmark", column], rows))


# --- The command ---------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--guest", help="directory with vmlinux, rootfs.cpio.gz and kernels "
                                        "(default: guest in the build directory)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of QEMU and the fastest "
                                                              "engine (default 5)")
    parser.add_argument("--interpreter-rounds", type=int, default=1,
                        help="rounds of the interpreter beside the translator (default 1)")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help="this workload or group only; may be given several times")
    parser.add_argument("--quick", action="store_true", help="one round, no interpreter beside the "
                                                             "translator, short micro-benchmarks")
    parser.add_argument("--json", metavar="FILE", help="write all measurements to FILE")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.interpreter_rounds = 1, 0
    if arguments.rounds < 1 or arguments.interpreter_rounds < 0:
        parser.error("there must be at least one round")
    return arguments


class Place:
    """Where things are: the program, the guest, and a directory for what is made on the way."""

    def __init__(self, arguments, directory):
        guest = arguments.guest or os.path.join(arguments.build, "guest")
        self.build = arguments.build
        self.directory = directory
        self.program = os.path.join(arguments.build, "perfvisor")
        self.kernel = os.path.join(guest, "vmlinux")
        self.initrd = os.path.join(directory, "initrd")
        kernels = os.path.join(guest, "kernels")
        for path, made_by in ((self.program, "make"), (self.kernel, "make guest"),
                              (os.path.join(guest, "rootfs.cpio.gz"), "make guest"),
                              (kernels, "make guest")):
            if not os.path.exists(path):
                sys.exit(f"bench: there is no {path}; `{made_by}` makes it")
        with open(os.path.join(guest, "rootfs.cpio.gz"), "rb") as file:
            rootfs = file.read()
        with open(kernels, "rb") as file:
            archive = peers.cpio({"perfvisor-bench/kernels": (0o100755, file.read())},
                                 ["perfvisor-bench"])
        with open(self.initrd, "wb") as file:
            file.write(peers.append_archive(rootfs, archive))


def engines(where):
    """perfvisor's engines that this host has, the fastest first, and what was said about others."""
    image = os.path.join(where.directory, "probe.elf")
    bare_metal.write_image(image)
    usable, refused = [], []
    for engine in ("translator", "interpreter"):
        peer = peers.Perfvisor(where.program, engine)
        try:
            bare_metal.start_up(peer, image)
            usable.append(peer)
        except RuntimeError as error:
            refused.append(f"{peer.name}: {error}")
    return usable, refused


def find_program(name):
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    return None


def select(only):
    chosen = [w for w in workloads.GUEST if not only or w.name in only or w.group in only]
    if only and not chosen and not {"counting", "smp"} & set(only):
        known = dict.fromkeys(["counting", "smp", *(w.group for w in workloads.GUEST),
                               *(w.name for w in workloads.GUEST)])
        sys.exit(f"bench: no such workload; there are: {', '.join(known)}")
    return chosen


def host_description():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} CPUs, Linux {platform.release()}"


def to_json(results):
    return {peer: {name: [vars(timing) for timing in timings]
                   for name, timings in by_name.items()} for peer, by_name in results.items()}


def run(arguments, directory):
    where = Place(arguments, directory)
    chosen = select(arguments.only)
    tested, absent = engines(where)
    failures = []
    if not tested:
        sys.exit("bench: perfvisor runs no guest: " + "; ".join(absent))
    contestants, rounds = [], {}

    qemu = peers.Qemu()
    qemu_version = None
    if find_program("qemu-system-ppc"):
        qemu_version = qemu.version()
        contestants.append(qemu)
        rounds[qemu.name] = arguments.rounds
    else:
        absent.append("QEMU: there is no qemu-system-ppc; scripts/install-packages bench")
    rounds[tested[0].name] = arguments.rounds
    for peer in tested[1:]:
        rounds[peer.name] = arguments.interpreter_rounds
    contestants += [peer for peer in tested if rounds[peer.name] > 0]
    tested = [peer for peer in tested if rounds[peer.name] > 0]

    start_up, failed = measure_start_up(contestants, 3 if arguments.quick else 11, where)
    failures += failed

    kernels = os.path.join(arguments.build, "bench", "kernels")
    busybox = find_program("busybox")
    native = None
    if os.path.exists(kernels):
        native = Native(kernels, busybox, directory)
        contestants.insert(0, native)
        rounds[native.name] = arguments.rounds
    else:
        absent.append(f"native: there is no {kernels}; `make` makes it")
    if not busybox:
        absent.append("native: there is no busybox; scripts/install-packages bench")

    results, failed, memory = measure(contestants, chosen, rounds, where)
    failures += failed + check_outputs(results, chosen)

    counting, counting_failures = {}, []
    if not arguments.only or "counting" in arguments.only:
        passes = 2 if arguments.quick else 5
        for peer in tested[:1]:
            own, notes, failed = measure_counting(peer, passes, where)
            counting[peer.name] = (own, notes)
            counting_failures += failed
    failures += counting_failures

    smp = {}
    if not arguments.only or "smp" in arguments.only:
        smp, failed = measure_smp(tested[0].engine, min(arguments.rounds, 3), where,
                                  qemu_version is not None, native)
        failures += failed

    print(f"{host_description()}\nload average before and now: {arguments.load_before:.1f}, "
          f"{os.getloadavg()[0]:.1f}; {datetime.date.today()}\n"
          f"{qemu_version or 'no QEMU'}; rounds: {arguments.rounds}")
    summary = show_comparison(results, chosen, tested)
    counting_summary = {name: show_counting(name, own, notes)
                        for name, (own, notes) in counting.items()}
    smp_summary = show_smp(smp, tested[0].engine) if smp else {}
    show_start_up(start_up, memory)
    micro = {}
    if not arguments.only:
        for name, title, column, value, time in (
                ("engine_bench", "Bare-metal loops", "million guest instructions/s",
                 lambda entry: f"{entry['instr/s'] / 1e6:.0f}", "cpu_time"),
                ("perfmon_reservation_bench", "Reserving beside N holders", "µs",
                 lambda entry: f"{entry['real_time']:.1f}", "real_time")):
            micro[name] = micro_benchmarks(os.path.join(arguments.build, name), arguments.quick)
            show_micro(title, micro[name], column, value, time)
    for title, sentences in (("Not there", absent), ("What went wrong", failures)):
        if sentences:
            print(f"\n{title}:\n")
            print("\n".join(f"- {sentence}" for sentence in sentences))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"host": host_description(), "date": str(datetime.date.today()),
                       "qemu": qemu_version, "rounds": arguments.rounds, "summary": summary,
                       "timings": to_json(results), "counting": counting_summary,
                       "smp": {"summary": smp_summary,
                               "timings": to_json({f"{peer}, {cpus}": by_name for (peer, cpus),
                                                   by_name in smp.items()})},
                       "start_up_seconds": start_up, "memory_mib": memory, "micro": micro,
                       "absent": absent, "failures": failures}, file, indent=1)
    return 1 if failures else 0


def main():
    # As after Ctrl-C: what was started is ended, what was written is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse_arguments()
    arguments.load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="perfvisor-bench-") as directory:
        return run(arguments, directory)


if __name__ == "__main__":
    sys.exit(main())
