// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor run: starts a guest. Options in QEMU's spellings, with one dash or two, and our own.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "core/model.h"
#include "machine/ppce500.h"
#include "vmm/run.h"

namespace perfvisor::cli {
namespace {

// The options as typed; checked and turned into vmm::RunOptions by parse().
struct Typed {
    vmm::RunOptions options;
    std::string cpus = "1";
    std::string memory;
    std::string kernel, firmware, initrd, dtb, append, exec, console_log;
    std::string reserve_perfmon;
    std::string clock, engine, accelerator = "soft";
    bool nographic = false;
};

std::string known_cpus() {
    std::string names;
    for (const core::CoreModel& model : core::core_models())
        names += (names.empty() ? "" : ", ") + std::string(model.name);
    return names;
}

// "u-boot" without a directory means the distribution's, where there is no file of that name.
std::filesystem::path find_firmware(const std::string& name) {
    constexpr const char* kDistribution = "/usr/lib/u-boot/qemu-ppce500/uboot.elf";
    std::error_code error;
    return name == "u-boot" && !std::filesystem::exists(name, error) ? kDistribution : name;
}

// One of the words in `choices`, as the value it stands for.
template <typename T>
Result<T> choose(const char* option, const std::string& word,
                 std::initializer_list<std::pair<const char*, T>> choices) {
    std::string known;
    for (const auto& [name, value] : choices) {
        if (word == name) return value;
        known += (known.empty() ? "" : " or ") + std::string(name);
    }
    return fail("{}: \"{}\" is not known; it takes {}", option, word, known);
}

// -smp takes QEMU's "N" and "cpus=N".
Result<unsigned> parse_cpus(std::string text) {
    if (text.starts_with("cpus=")) text.erase(0, 5);
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 1 ||
        value > machine::kMaxCpus)
        return fail("-smp: \"{}\" is not a number of CPUs; it takes 1 to {}", text,
                    machine::kMaxCpus);
    return value;
}

Result<vmm::RunOptions> check(Typed typed, const CLI::App& command) {
    vmm::RunOptions options = std::move(typed.options);
    if (options.machine != "ppce500")
        return fail("-M: machine \"{}\" is not known; known: ppce500", options.machine);
    if (!core::find_core_model(options.cpu.c_str()))
        return fail("-cpu: CPU \"{}\" is not known; known: {}", options.cpu, known_cpus());
    const Result<unsigned> cpus = parse_cpus(typed.cpus);
    if (!cpus) return tl::unexpected(cpus.error());
    options.cpus = *cpus;
    if (command.count("-m")) {
        const Result<uint64_t> bytes = machine::parse_memory_size(typed.memory);
        if (!bytes) return tl::unexpected(bytes.error());
        options.memory_bytes = *bytes;
    }
    if (command.count("--kernel")) options.kernel = typed.kernel;
    if (command.count("--bios")) options.firmware = find_firmware(typed.firmware);
    if (command.count("--initrd")) options.initrd = typed.initrd;
    if (command.count("--dtb")) options.dtb = typed.dtb;
    if (command.count("--append")) options.append = typed.append;
    if (command.count("--exec")) options.exec = typed.exec;
    if (command.count("--console-log")) options.console_log = typed.console_log;
    if (command.count("--reserve-perfmon")) {
        // CLI11 gives a flag without a value as "true".
        const auto wish =
            choose<vmm::ReservePerfmon>("--reserve-perfmon", typed.reserve_perfmon,
                                        {{"true", vmm::ReservePerfmon::IfPossible},
                                         {"required", vmm::ReservePerfmon::Required}});
        if (!wish)
            return fail("--reserve-perfmon: \"{}\" is not known; it takes nothing or =required",
                        typed.reserve_perfmon);
        options.reserve_perfmon = *wish;
    }
    if (options.board && command.count("--reserve-perfmon"))
        return fail(
            "--board and --reserve-perfmon contradict each other: a board's performance monitor is "
            "its own, only a guest reserves this machine's");
    // A command's run is repeatable unless asked otherwise; a person at the console wants real
    // time.
    if (typed.clock.empty()) typed.clock = options.exec ? "virtual" : "host";
    const auto clock = choose<kvm::SoftClock>(
        "--clock", typed.clock,
        {{"virtual", kvm::SoftClock::Virtual}, {"host", kvm::SoftClock::Host}});
    if (!clock) return tl::unexpected(clock.error());
    options.clock = *clock;
    if (!typed.engine.empty()) {
        const auto engine = choose<kvm::SoftEngine>("--engine", typed.engine,
                                                    {{"translator", kvm::SoftEngine::Translator},
                                                     {"interpreter", kvm::SoftEngine::Interpreter},
                                                     {"lockstep", kvm::SoftEngine::Lockstep}});
        if (!engine) return tl::unexpected(engine.error());
        options.engine = *engine;
    }
    const auto accelerator = choose<vmm::Accelerator>(
        "--accel", typed.accelerator,
        {{"soft", vmm::Accelerator::Soft}, {"kvm", vmm::Accelerator::Kvm}});
    if (!accelerator) return tl::unexpected(accelerator.error());
    options.accelerator = *accelerator;
    if (options.accelerator == vmm::Accelerator::Kvm && command.count("--engine"))
        return fail(
            "--engine goes with --accel=soft only: the kernel's KVM has no engine to choose");
    if (options.engine == kvm::SoftEngine::Lockstep && options.clock == kvm::SoftClock::Host)
        return fail(
            "--engine=lockstep goes with --clock=virtual only: by the host's clock each of the two "
            "engines would read another time");
    if (options.accelerator == vmm::Accelerator::Kvm && command.count("--clock") &&
        options.clock == kvm::SoftClock::Virtual)
        return fail("--clock=virtual goes with --accel=soft only: hardware follows the wall clock");
    if (options.board && options.accelerator == vmm::Accelerator::Kvm)
        return fail(
            "--board goes with --accel=soft only: what the kernel's KVM runs is a guest of this "
            "machine");
    if (options.name.empty())
        options.name = fmt::format("{}-{}", options.board ? "board" : "guest", getpid());
    return options;
}

}  // namespace

void add_run_command(CLI::App& app, Action& action) {
    auto typed = std::make_shared<Typed>();
    CLI::App* run = app.add_subcommand("run", "Run a guest");
    run->add_option("-M,--machine", typed->options.machine, "Machine: ppce500");
    run->add_option("--cpu", typed->options.cpu, "CPU: " + known_cpus());
    run->add_option("--smp", typed->cpus, "Number of CPUs, 1 to 32");
    run->add_option("-m,--memory", typed->memory, "RAM, e.g. 512M or 2G; 16M to 32G, default 128M");
    run->add_option("--kernel", typed->kernel,
                    "Kernel: ELF, uImage or raw image; with --bios, what the firmware boots");
    run->add_option("--bios", typed->firmware,
                    "Firmware to start: ELF or uImage; u-boot is the distribution's U-Boot");
    run->add_option("--initrd", typed->initrd, "Initial RAM disk");
    run->add_option("--append", typed->append, "Kernel command line");
    run->add_option("--dtb", typed->dtb, "Device tree instead of the built-in one");
    run->add_flag("--nographic", typed->nographic,
                  "Console on the terminal: always so, taken for QEMU's sake");
    run->add_flag("--no-reboot", typed->options.no_reboot, "Exit instead of rebooting");
    run->add_option("--name", typed->options.name,
                    "Name of the guest; default guest-PID (board-PID)");
    run->add_flag("--reserve-perfmon", typed->reserve_perfmon,
                  "Reserve the performance monitor for the guest; =required: or do not start");
    run->add_flag("--board", typed->options.board,
                  "A board of its own instead of a guest: it has its performance monitor without "
                  "a reservation, and its firmware says so in the device tree");
    run->add_option("--clock", typed->clock,
                    "virtual: time follows executed cycles, every run is the same (default with "
                    "--exec); host: the wall clock");
    run->add_option(
        "--engine", typed->engine,
        "translator (the default, on x86-64) or interpreter; lockstep: both, compared after every "
        "block, for developers");
    run->add_option("--accel", typed->accelerator,
                    "soft: the built-in e500; kvm: /dev/kvm of a Power host");
    run->add_option("--exec", typed->exec,
                    "Run this shell command in the guest and exit with its status");
    run->add_option("--console-log", typed->console_log, "File for the guest's console output");
    add_runtime_directory_option(*run, typed->options.runtime_directory);
    run->callback([typed, run, &action] {
        if (!run->count("--kernel") && !run->count("--bios"))
            throw CLI::RequiredError("--kernel or --bios");
        action = [typed, run] {
            const Result<vmm::RunOptions> options = check(*typed, *run);
            return exit_status(options ? vmm::run_guest(*options)
                                       : Result<int>(tl::unexpected(options.error())));
        };
    });
}

}  // namespace perfvisor::cli
