// SPDX-License-Identifier: GPL-2.0-or-later
// perfvisor run: starts a guest. Options in QEMU's spellings, with one dash or two, and our own.
#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/report_output.h"
#include "cli/stat_counts.h"
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
    std::string kernel, firmware, initrd, dtb, append, exec, console_log, gdb;
    std::string reserve_perfmon;
    std::string clock, engine, accelerator = "soft", timing = "simple";
    bool nographic = false;
    bool gdb_on_usual_port = false;
    std::vector<std::string> stat;
    std::optional<std::string> stat_output, stat_separator;
    bool stat_json = false;
};

// --stat: which counts of the command, and how they are written.
struct StatWish {
    std::vector<StatEvent> events;
    StatStyle style = StatStyle::Text;
    std::string separator;
    ReportOutput output;
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
    if (command.count("--exec")) {
        if (typed.exec.empty()) return fail("--exec: the command is empty");
        options.exec = typed.exec;
    }
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
    const auto timing =
        choose<vmm::Timing>("--timing", typed.timing,
                            {{"simple", vmm::Timing::Simple}, {"e500mc", vmm::Timing::E500mc}});
    if (!timing) return tl::unexpected(timing.error());
    options.timing = *timing;
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
    if (typed.gdb_on_usual_port && command.count("--gdb"))
        return fail("-s and -gdb contradict each other: -s is -gdb tcp::1234");
    if (typed.gdb_on_usual_port) options.gdb = "tcp::1234";
    if (command.count("--gdb")) options.gdb = typed.gdb;
    if (options.accelerator == vmm::Accelerator::Kvm && command.count("--timing"))
        return fail("--timing goes with --accel=soft only: hardware takes the time it takes");
    if (options.board && options.accelerator == vmm::Accelerator::Kvm)
        return fail(
            "--board goes with --accel=soft only: what the kernel's KVM runs is a guest of this "
            "machine");
    if (options.name.empty())
        options.name = fmt::format("{}-{}", options.board ? "board" : "guest", getpid());
    return options;
}

// Nothing without --stat.
Result<std::optional<StatWish>> check_stat(const Typed& typed) {
    if (typed.stat.empty()) {
        for (const auto& [given, name] : {std::pair(typed.stat_output.has_value(), "-o"),
                                          std::pair(typed.stat_separator.has_value(), "-x"),
                                          std::pair(typed.stat_json, "--json")})
            if (given)
                return fail("{} says how --stat's counts are written, and there is no --stat",
                            name);
        return std::nullopt;
    }
    if (typed.exec.empty())
        return fail("--stat counts the command of --exec, and there is no --exec");
    if (!typed.reserve_perfmon.empty())
        return fail(
            "--stat counts from the host's side, and --reserve-perfmon gives the performance "
            "monitor to the guest: one or the other");
    if (typed.stat_separator && typed.stat_json) return fail("-x and --json exclude each other");
    StatWish wish;
    auto events = parse_stat_events(typed.stat, "--stat");
    if (!events) return tl::unexpected(events.error());
    wish.events = std::move(*events);
    if (typed.stat_json) wish.style = StatStyle::Json;
    if (typed.stat_separator) {
        auto separator = parse_separator(*typed.stat_separator);
        if (!separator) return tl::unexpected(separator.error());
        wish.style = StatStyle::Csv;
        wish.separator = std::move(*separator);
    }
    // Opened first: a run whose counts cannot be written is not begun.
    auto output = ReportOutput::open(typed.stat_output);
    if (!output) return tl::unexpected(output.error());
    wish.output = std::move(*output);
    return wish;
}

Result<void> write_counts(const StatWish& wish, const std::string& command,
                          const vmm::CommandCounts& counts) {
    StatReport report;
    report.events = wish.events;
    report.seconds = static_cast<double>(counts.nanoseconds) / 1e9;
    StatRow& row = report.rows.emplace_back();
    for (const StatEvent& event : wish.events) {
        std::optional<uint64_t> count;
        for (const kvm::WindowCount& counted : counts.events)
            if (counted.event == event.code)
                count = (event.user ? counted.user : 0) + (event.kernel ? counted.supervisor : 0);
        row.counts.push_back(count);
    }
    std::string text = format_counts(report, wish.style, wish.separator);
    if (wish.style == StatStyle::Text)
        text = format_heading("'" + command + "'") + text + format_elapsed(report.seconds);
    return wish.output.write(text);
}

Result<int> run(const Typed& typed, const CLI::App& command) {
    Result<vmm::RunOptions> options = check(typed, command);
    if (!options) return tl::unexpected(options.error());
    auto stat = check_stat(typed);
    if (!stat) return tl::unexpected(stat.error());
    if (!*stat) return vmm::run_guest(*options);
    for (const StatEvent& event : (*stat)->events)
        options->count_command.push_back(event.code);
    vmm::CommandCounts counts;
    Result<int> status = vmm::run_guest(*options, &counts);
    // Without counts the run was left (a signal, the monitor's quit).
    if (!status || counts.events.empty()) return status;
    if (auto written = write_counts(**stat, typed.exec, counts); !written)
        return tl::unexpected(written.error());
    return status;
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
    run->add_option("--timing", typed->timing,
                    "simple: one cycle an instruction (default); e500mc: cycles of the modelled "
                    "pipeline and caches");
    run->add_option(
        "--engine", typed->engine,
        "translator (the default, on x86-64) or interpreter; lockstep: both, compared after every "
        "block, for developers");
    run->add_option("--accel", typed->accelerator,
                    "soft: the built-in e500; kvm: /dev/kvm of a Power host");
    run->add_option("--exec", typed->exec,
                    "Run this shell command in the guest and exit with its status");
    run->add_option(
           "--stat", typed->stat,
           "Count these events of --exec's command, as perf stat -e: \"instructions:u,r9\"")
        ->allow_extra_args(false);
    run->add_option("-o,--output", typed->stat_output, "File for --stat's counts; default stderr");
    run->add_option("-x,--field-separator", typed->stat_separator,
                    "--stat: one line an event, fields separated by this");
    run->add_flag("-j,--json", typed->stat_json, "--stat: one JSON object an event");
    run->add_option("--gdb", typed->gdb, "Let gdb connect: tcp::PORT, tcp:HOST:PORT or unix:PATH");
    run->add_flag("-s", typed->gdb_on_usual_port, "The same as -gdb tcp::1234");
    run->add_flag("-S", typed->options.start_paused,
                  "Wait for gdb, or the monitor's cont, before the first instruction");
    run->add_option("--console-log", typed->console_log, "File for the guest's console output");
    add_runtime_directory_option(*run, typed->options.runtime_directory);
    run->callback([typed, run, &action] {
        if (!run->count("--kernel") && !run->count("--bios"))
            throw CLI::RequiredError("--kernel or --bios");
        action = [typed, run] { return exit_status(cli::run(*typed, *run)); };
    });
}

}  // namespace perfvisor::cli
