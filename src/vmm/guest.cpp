// SPDX-License-Identifier: GPL-2.0-or-later
// Building a boot, and the KVM_RUN loop.
#include "vmm/guest.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

namespace perfvisor::vmm {
namespace {

// How long pause() waits for vCPUs that are busy in a device, such as a console that nobody reads.
constexpr std::chrono::milliseconds kPauseWait{500};

// TLB geometry of the e500mc for KVM_CONFIG_TLB.
constexpr uint32_t kTlb0Entries = 512, kTlb0Ways = 4, kTlb1Entries = 64;

uint64_t host_nanoseconds() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

int own_thread_id() {
    return static_cast<int>(syscall(SYS_gettid));
}

// MAS1[TSIZE] counts powers of two of 1 KiB.
uint32_t tsize_of(uint64_t bytes) {
    uint32_t tsize = 0;
    while ((uint64_t{1024} << tsize) < bytes)
        ++tsize;
    return tsize;
}

// One TLB1 entry in the layout of the MAS registers: valid, supervisor and user RWX, M.
kvm_book3e_206_tlb_entry tlb_entry(const machine::InitialMapping& mapping) {
    constexpr uint32_t kValid = 0x80000000, kIprot = 0x40000000, kCoherent = 0x4,
                       kAllPermissions = 0x3f;
    kvm_book3e_206_tlb_entry entry = {};
    entry.mas1 = kValid | (mapping.protect ? kIprot : 0) | tsize_of(mapping.size) << 7;
    entry.mas2 = mapping.effective | kCoherent;
    entry.mas7_3 = mapping.physical | kAllPermissions;
    return entry;
}

std::string why_not_reserved(kvm::PerfmonReservation outcome, const std::string& holder) {
    switch (outcome) {
        case kvm::PerfmonReservation::Busy:
            return holder.empty() ? "the host is using it" : holder;
        case kvm::PerfmonReservation::NoDevice:
            return "this CPU model has none";
        case kvm::PerfmonReservation::Unsupported:
        case kvm::PerfmonReservation::Reserved:
            break;
    }
    return "this KVM has no perfmon reservation";
}

}  // namespace

Guest::Guest(const RunOptions& options, Io io)
    : options_(options),
      io_(std::move(io)),
      ended_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {}

Guest::~Guest() {
    stop();
}

Result<std::unique_ptr<Guest>> Guest::boot(kvm::System& system, const RunOptions& options,
                                           std::span<uint8_t> ram, const machine::BootFiles& files,
                                           Io io) {
    std::unique_ptr<Guest> guest(new Guest(options, std::move(io)));
    if (auto built = guest->build(system, ram, files); !built) return tl::unexpected(built.error());
    return guest;
}

Result<void> Guest::build(kvm::System& system, std::span<uint8_t> ram,
                          const machine::BootFiles& files) {
    if (!ended_ || !timer_) return fail("cannot create event descriptors: too many open files");
    auto vm = system.create_vm();
    if (!vm) return tl::unexpected(vm.error());
    vm_ = std::move(*vm);
    ram_ = ram;
    if (auto set = kvm::set_user_memory_region(*vm_, 0, 0, ram.data(), ram.size()); !set)
        return set;
    if (options_.timing == Timing::E500mc)
        if (auto set = kvm::set_timing(*vm_, KVM_SOFT_TIMING_E500MC); !set) return set;
    if (io_.marks)
        if (auto set =
                kvm::set_window(*vm_, io_.marks->open, io_.marks->close, options_.count_command);
            !set)
            return set;
    if (auto reserved = reserve_perfmon(); !reserved) return reserved;
    if (auto created = create_vcpus(); !created) return created;
    if (auto created = create_machine(); !created) return created;

    machine::DeviceTreeConfig tree;
    tree.cpus = options_.cpus;
    // On a board that is for its firmware to say.
    if (!options_.board) tree.perfmon = has_perfmon_;
    tree.command_line = options_.append;
    if (options_.exec) tree.default_arguments = ExecChannel::kKernelArguments;
    auto image = machine::load_boot_image(files, tree, machine::GuestMemory(ram));
    if (!image) return tl::unexpected(image.error());
    warn_of_little_memory(*image);
    // At once, so that a debugger sees it before the first instruction.
    cpus_[0].start = image->start;
    return enter_start_state(cpus_[0], image->start);
}

// The images fit, or there would be an error; but Linux unpacks an initrd beside itself, and where
// that fails it stops in ways that do not speak of memory.
void Guest::warn_of_little_memory(const machine::BootImage& image) {
    constexpr uint64_t kForTheKernelItself = 4 * machine::kMiB;
    const uint64_t wanted = image.kernel.size + 2 * image.initrd.size + kForTheKernelItself;
    if (image.initrd.size == 0 || wanted <= options_.memory_bytes) return;
    io_.warn(
        fmt::format("-m: {} MiB may be too little for a kernel of {} KiB and an initrd of {} KiB, "
                    "which needs as much again where it is unpacked; {} MiB would do",
                    options_.memory_bytes / machine::kMiB, image.kernel.size / 1024,
                    image.initrd.size / 1024, (wanted + machine::kMiB - 1) / machine::kMiB));
}

// Once per guest, before it first runs (docs/reservation.md).
Result<void> Guest::reserve_perfmon() {
    if (options_.board) {
        auto owned = kvm::own_perfmon(*vm_);
        has_perfmon_ = owned.has_value();
        return owned;
    }
    if (options_.reserve_perfmon == ReservePerfmon::No) return {};
    const auto reserved = kvm::reserve_perfmon(*vm_);
    has_perfmon_ = reserved && *reserved == kvm::PerfmonReservation::Reserved;
    if (has_perfmon_) return {};
    const std::string why =
        reserved ? why_not_reserved(*reserved, vm_->perfmon_failure()) : reserved.error().message;
    if (options_.reserve_perfmon == ReservePerfmon::Required)
        return fail("--reserve-perfmon=required: {}", why);
    io_.warn(
        fmt::format("--reserve-perfmon: the guest starts without a performance monitor: {}", why));
    return {};
}

Result<void> Guest::create_vcpus() {
    const bool soft = has_soft_kvm();
    cpus_.resize(options_.cpus);
    for (unsigned id = 0; id < options_.cpus; ++id) {
        auto vcpu = vm_->create_vcpu(id);
        if (!vcpu) return tl::unexpected(vcpu.error());
        Cpu& cpu = cpus_[id];
        cpu.vcpu = std::move(*vcpu);
        cpu.tlb.resize(kTlb0Entries + kTlb1Entries);
        if (auto set = kvm::config_tlb(*cpu.vcpu, cpu.tlb, kTlb0Entries, kTlb0Ways, kTlb1Entries);
            !set)
            return set;
        if (auto set = kvm::enable_watchdog(*cpu.vcpu); !set) return set;
        // It waits in the spin table.
        if (soft && id > 0)
            if (auto set = kvm::set_stopped(*cpu.vcpu, true); !set) return set;
        // With nobody at the console, nothing can wake CPUs without timers.
        if (soft && options_.exec &&
            (options_.cpus == 1 || options_.clock == kvm::SoftClock::Virtual))
            if (auto set = kvm::set_halt_exit(*cpu.vcpu, true); !set) return set;
    }
    return {};
}

Result<void> Guest::create_machine() {
    machine::MachineHooks hooks;
    hooks.set_external = [this](unsigned cpu, bool level) {
        must(kvm::set_external_interrupt(*cpus_[cpu].vcpu, level));
    };
    hooks.set_external_proxy = [this](bool enabled) {
        for (Cpu& cpu : cpus_)
            must(kvm::set_external_proxy(*cpu.vcpu, enabled));
    };
    if (has_soft_kvm()) {
        hooks.set_critical = [this](unsigned cpu, bool level) {
            must(kvm::set_critical_interrupt(*cpus_[cpu].vcpu, level));
        };
        hooks.set_machine_check = [this](unsigned cpu, bool level) {
            must(kvm::set_machine_check(*cpus_[cpu].vcpu, level));
        };
        hooks.set_timebases = [this](uint32_t cpus, bool running) {
            must(kvm::freeze_time_bases(*vm_, cpus, !running));
        };
        hooks.set_napping = [this](unsigned cpu, bool napping) {
            must(kvm::set_stopped(*cpus_[cpu].vcpu, napping));
        };
        hooks.reset_secondary = [this](unsigned cpu) { reset_secondary(cpu); };
    }
    hooks.start_secondary = [this](const machine::CpuStart& start) { start_secondary(start); };
    hooks.request_reset = [this] { leave_with({GuestEnd::Reason::Reset, {}}); };
    hooks.request_power_off = [this] { leave_with({GuestEnd::Reason::PowerOff, {}}); };
    hooks.serial_output = io_.serial_output;
    hooks.serial_input_ready[0] = io_.console_ready;
    wire_time(hooks);
    hooks.first_unmapped_access = [this](const devices::MmioBus::Unmapped& access) {
        io_.warn(fmt::format("the guest {} {} bytes at {:#x}, where nothing is",
                             access.is_write ? "wrote" : "read", access.size, access.address));
    };
    machine::MachineConfig config;
    config.cpus = options_.cpus;
    auto created = machine::Ppce500::create(config, std::move(hooks));
    if (!created) return tl::unexpected(created.error());
    machine_ = std::move(*created);
    return {};
}

// Under the virtual clock nothing may follow the host's time: timers expire at a vCPU's deadline.
void Guest::wire_time(machine::MachineHooks& hooks) {
    if (options_.clock == kvm::SoftClock::Virtual) {
        hooks.clock = [this] { return kvm::guest_time(*vm_).value_or(0); };
        hooks.set_deadline = [this](std::optional<uint64_t> when) {
            must(kvm::set_deadline(*cpus_[0].vcpu, when.value_or(UINT64_MAX)));
        };
        return;
    }
    hooks.clock = host_nanoseconds;
    hooks.wall_clock = [] { return static_cast<int64_t>(std::time(nullptr)); };
    hooks.set_deadline = [this](std::optional<uint64_t> when) { set_timer(when); };
}

// From here on the CPU is one of those that execute; its thread enters KVM_RUN as soon as it can.
void Guest::start_secondary(const machine::CpuStart& start) {
    if (has_soft_kvm()) must(kvm::set_stopped(*cpus_[start.cpu].vcpu, false));
    const std::lock_guard lock(mutex_);
    cpus_[start.cpu].start = start;
    changed_.notify_all();
}

// Its thread leaves KVM_RUN, resets the core and waits for the CPU to be started anew. That has
// happened when the CPU that asked for it goes on: it may start the other at once, and under the
// virtual clock nothing may depend on when a thread gets there. One that resets itself has only to
// go on, and so do two that reset each other at once.
void Guest::reset_secondary(unsigned id) {
    Cpu& cpu = cpus_[id];
    must(kvm::set_stopped(*cpu.vcpu, true));
    std::unique_lock lock(mutex_);
    cpu.start.reset();
    ++cpu.resets;
    if (cpu.executing) cpu.vcpu->kick();
    changed_.notify_all();
    const auto own =
        std::find_if(cpus_.begin(), cpus_.end(),
                     [me = own_thread_id()](const Cpu& one) { return one.thread_id == me; });
    if (own == cpus_.end()) return;
    const unsigned own_resets = own->resets - (&*own == &cpu ? 1 : 0);
    changed_.wait(lock,
                  [&] { return stopping_ || cpu.waits_for_start || own->resets != own_resets; });
}

uint64_t Guest::nanoseconds() {
    const auto time = kvm::guest_time(*vm_);
    return time ? *time : host_nanoseconds() - started_;
}

void Guest::start() {
    started_ = host_nanoseconds();
    for (unsigned id = 0; id < cpus_.size(); ++id)
        cpus_[id].thread = std::thread([this, id] { run_thread(id); });
}

void Guest::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        changed_.notify_all();
    }
    for (Cpu& cpu : cpus_) {
        if (!cpu.thread.joinable()) continue;
        cpu.vcpu->kick();
        cpu.thread.join();
    }
}

// Those that are to rest are brought out of KVM and waited for.
void Guest::wait_for_rest(std::unique_lock<std::mutex>& lock) {
    for (Cpu& cpu : cpus_)
        if (cpu.executing && (paused_ || cpu.held)) cpu.vcpu->kick();
    changed_.wait_for(lock, kPauseWait, [&] {
        return std::none_of(cpus_.begin(), cpus_.end(),
                            [&](const Cpu& cpu) { return cpu.executing && (paused_ || cpu.held); });
    });
}

void Guest::pause() {
    std::unique_lock lock(mutex_);
    paused_ = true;
    wait_for_rest(lock);
}

void Guest::resume() {
    const std::lock_guard lock(mutex_);
    paused_ = false;
    changed_.notify_all();
}

void Guest::hold_all() {
    std::unique_lock lock(mutex_);
    for (Cpu& cpu : cpus_)
        cpu.held = true;
    wait_for_rest(lock);
}

void Guest::release(unsigned cpu) {
    const std::lock_guard lock(mutex_);
    cpus_[cpu].held = false;
    changed_.notify_all();
}

bool Guest::started(unsigned cpu) const {
    const std::lock_guard lock(mutex_);
    return cpus_[cpu].start.has_value();
}

Result<void> Guest::memory_written(std::span<const uint8_t> bytes) {
    return kvm::code_changed(*vm_, static_cast<uint64_t>(bytes.data() - ram_.data()), bytes);
}

// A kernel's KVM is not even asked: it has a vCPU's request wait until KVM_RUN returns.
Result<std::vector<kvm::EventTotal>> Guest::event_totals(unsigned cpu) const {
    if (!has_soft_kvm()) return fail("{}", kvm::kNoCountingFromOutside);
    return kvm::event_totals(*cpus_[cpu].vcpu);
}

Result<void> Guest::count_events(const std::vector<uint32_t>& events, bool on) {
    return kvm::count_events(*vm_, events, on);
}

bool Guest::shall_rest(const Cpu& cpu) const {
    const std::lock_guard lock(mutex_);
    return paused_ || cpu.held;
}

// False once the vCPU is to execute no more.
bool Guest::wait_while_paused(Cpu& cpu, unsigned resets) {
    std::unique_lock lock(mutex_);
    const auto is_over = [&] { return stopping_ || cpu.resets != resets; };
    if ((paused_ || cpu.held) && !is_over()) {
        cpu.executing = false;
        changed_.notify_all();
        changed_.wait(lock, [&] { return is_over() || !(paused_ || cpu.held); });
    }
    cpu.executing = !is_over();
    return cpu.executing;
}

std::optional<GuestEnd> Guest::end() const {
    const std::lock_guard lock(mutex_);
    return end_;
}

// May be called with a device's lock held, on any thread. The first end counts.
void Guest::leave_with(GuestEnd end) {
    {
        const std::lock_guard lock(mutex_);
        if (!end_) end_ = std::move(end);
        stopping_ = true;
        changed_.notify_all();
    }
    for (Cpu& cpu : cpus_)
        if (cpu.vcpu) cpu.vcpu->kick();
    eventfd_write(ended_.get(), 1);
}

void Guest::must(const Result<void>& done) {
    if (!done) leave_with({GuestEnd::Reason::Failed, done.error().message});
}

size_t Guest::send_to_console(std::span<const uint8_t> bytes) {
    return machine_->send_to_serial(0, bytes);
}

void Guest::run_timers() {
    uint64_t expirations = 0;
    if (read(timer_.get(), &expirations, sizeof expirations) > 0) machine_->run_timers();
}

void Guest::set_timer(std::optional<uint64_t> nanoseconds) {
    constexpr uint64_t kSecond = 1'000'000'000;
    itimerspec when = {};
    if (nanoseconds) {
        // All zero would disarm the timer.
        const uint64_t at = std::max<uint64_t>(*nanoseconds, 1);
        when.it_value.tv_sec = static_cast<time_t>(at / kSecond);
        when.it_value.tv_nsec = static_cast<long>(at % kSecond);
    }
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

// A vCPU's thread: waits to be started (secondaries: by the spin table), then runs.
void Guest::run_thread(unsigned id) {
    Cpu& cpu = cpus_[id];
    cpu.thread_id = own_thread_id();
    for (;;) {
        std::unique_lock lock(mutex_);
        cpu.waits_for_start = true;
        changed_.notify_all();
        changed_.wait(lock, [&] { return stopping_ || cpu.start; });
        if (stopping_) return;
        cpu.waits_for_start = false;
        const machine::CpuStart start = *cpu.start;
        const unsigned resets = cpu.resets;
        lock.unlock();
        // The boot CPU has been there since before it could be held.
        if (id != 0)
            if (auto entered = enter_start_state(cpu, start); !entered)
                return leave_with({GuestEnd::Reason::Failed, entered.error().message});
        run_vcpu(id, resets);
        lock.lock();
        if (stopping_) return;
        lock.unlock();
        if (auto reset = kvm::reset_core(*cpu.vcpu); !reset)
            return leave_with({GuestEnd::Reason::Failed, reset.error().message});
    }
}

Result<void> Guest::enter_start_state(Cpu& cpu, const machine::CpuStart& start) {
    std::fill(cpu.tlb.begin(), cpu.tlb.end(), kvm_book3e_206_tlb_entry{});
    cpu.tlb[kTlb0Entries + start.mapping.tlb1_entry] = tlb_entry(start.mapping);
    if (auto told = kvm::dirty_tlb(*cpu.vcpu, cpu.tlb.size()); !told) return told;
    kvm_regs regs = {};
    regs.pc = start.pc;
    std::copy(start.gpr.begin(), start.gpr.end(), regs.gpr);
    return kvm::set_regs(*cpu.vcpu, regs);
}

namespace {

std::string failure_text(const kvm::Vcpu& vcpu, const kvm_run& run) {
    const std::string text = vcpu.failure();
    return text.empty() ? fmt::format("KVM reports internal error {}", run.internal.suberror)
                        : text;
}

}  // namespace

void Guest::run_vcpu(unsigned id, unsigned resets) {
    Cpu& cpu = cpus_[id];
    kvm::Vcpu& vcpu = *cpu.vcpu;
    kvm_run& run = *vcpu.run();
    // The last exit is in the middle of an instruction or interrupt, which KVM_RUN finishes.
    bool unfinished = false;
    for (;;) {
        if (unfinished && shall_rest(cpu))
            vcpu.kick();  // finish it, and no more
        else if (!wait_while_paused(cpu, resets))
            return;
        const auto result = kvm::run(vcpu);
        if (!result) return leave_with({GuestEnd::Reason::Failed, result.error().message});
        unfinished = !result->interrupted &&
                     (result->exit_reason == KVM_EXIT_MMIO || result->exit_reason == KVM_EXIT_EPR);
        if (result->interrupted) {
            kvm::forget_kick(vcpu);
            if (options_.clock == kvm::SoftClock::Virtual &&
                run.hw.hardware_exit_reason == KVM_SOFT_INTR_DEADLINE)
                machine_->run_timers();
            continue;
        }
        switch (result->exit_reason) {
            case KVM_EXIT_MMIO: {
                const std::span<uint8_t> data(run.mmio.data,
                                              std::min<size_t>(run.mmio.len, sizeof run.mmio.data));
                if (run.mmio.is_write)
                    machine_->bus().write_bytes(run.mmio.phys_addr, data, id);
                else
                    machine_->bus().read_bytes(run.mmio.phys_addr, data, id);
                break;
            }
            case KVM_EXIT_EPR:
                run.epr.epr = machine_->acknowledge(id);
                break;
            case KVM_EXIT_DEBUG: {
                const kvm_debug_exit_arch exit = run.debug.arch;
                {
                    const std::lock_guard lock(mutex_);
                    cpu.held = true;
                }
                io_.debug_exit(id, exit);
                break;
            }
            case KVM_EXIT_WATCHDOG:
                return leave_with({GuestEnd::Reason::Reset, {}});
            case KVM_EXIT_SYSTEM_EVENT:
                if (run.system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN)
                    return leave_with({GuestEnd::Reason::PowerOff, {}});
                if (run.system_event.type == KVM_SYSTEM_EVENT_RESET)
                    return leave_with({GuestEnd::Reason::Reset, {}});
                return leave_with({GuestEnd::Reason::Stuck, "the guest reported a crash"});
            case KVM_EXIT_SHUTDOWN:
                return leave_with(
                    {GuestEnd::Reason::Stuck,
                     fmt::format("CPU {} stopped in a machine check it could not take", id)});
            case KVM_EXIT_HLT:
                return leave_with({GuestEnd::Reason::Stuck,
                                   fmt::format("CPU {} waits for an event that cannot come", id)});
            case KVM_EXIT_INTERNAL_ERROR:
                return leave_with({GuestEnd::Reason::Failed,
                                   fmt::format("CPU {} failed: {}", id, failure_text(vcpu, run))});
            default:
                return leave_with({GuestEnd::Reason::Failed,
                                   fmt::format("KVM_RUN ended for reason {}, which is not handled",
                                               result->exit_reason)});
        }
    }
}

}  // namespace perfvisor::vmm
