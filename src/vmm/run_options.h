// SPDX-License-Identifier: GPL-2.0-or-later
// What a user may say about a guest to be run, already parsed and checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "kvm/soft/soft.h"
#include "machine/guest_memory.h"

namespace perfvisor::vmm {

enum class ReservePerfmon : uint8_t { No, IfPossible, Required };
enum class Accelerator : uint8_t { Soft, Kvm };

// One cycle an instruction, or the model of the e500mc (docs/timing.md).
enum class Timing : uint8_t { Simple, E500mc };

struct RunOptions {
    std::string name;  // of the guest, for `perfvisor stat` and warnings; default "guest-PID"
    std::string machine = "ppce500";
    std::string cpu = "e500mc";
    unsigned cpus = 1;
    uint64_t memory_bytes = 128 * machine::kMiB;    // QEMU's default
    std::optional<std::filesystem::path> kernel;    // one of them at least
    std::optional<std::filesystem::path> firmware;  // started first; the kernel is for it to boot
    std::optional<std::filesystem::path> initrd;
    std::optional<std::filesystem::path> dtb;
    std::optional<std::string> append;
    bool no_reboot = false;

    // A board instead of a guest: its performance monitor is its own, and nothing is reserved.
    bool board = false;
    ReservePerfmon reserve_perfmon = ReservePerfmon::No;
    kvm::SoftClock clock = kvm::SoftClock::Host;
    Timing timing = Timing::Simple;
    std::optional<kvm::SoftEngine> engine;  // nothing: the fastest that the host has
    Accelerator accelerator = Accelerator::Soft;

    // Where guests and users of the performance monitor meet; empty: by convention.
    std::string runtime_directory;

    // -gdb: a debugger may connect there, as parse_gdb_address() takes it.
    std::optional<std::string> gdb;
    // -S: the guest waits for a debugger, or the monitor's "cont", before its first instruction.
    bool start_paused = false;

    // --exec: run this in the guest, its output on stdout, and exit with its status.
    std::optional<std::string> exec;
    // Count these events (their codes) of the command, for CommandCounts; none: do not count.
    std::vector<uint32_t> count_command;
    // Where the guest's console goes instead of stdout (stderr with --exec).
    std::optional<std::filesystem::path> console_log;
};

}  // namespace perfvisor::vmm
