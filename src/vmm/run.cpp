// SPDX-License-Identifier: GPL-2.0-or-later
// From options to exit: KVM, memory, terminal, one Guest per boot, and the loop that waits for the
// terminal, the guest's end and signals.
#include "vmm/run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <memory>
#include <system_error>

#include "host/pmc_hardware.h"
#include "kvm/linux/linux.h"
#include "kvm/soft/soft.h"
#include "vmm/exec_channel.h"
#include "vmm/gdb_server.h"
#include "vmm/guest.h"
#include "vmm/guest_control.h"
#include "vmm/monitor.h"
#include "vmm/output.h"
#include "vmm/panic_watch.h"
#include "vmm/terminal.h"

namespace perfvisor::vmm {
namespace {

// How long an unfinished line may wait before it is shown.
constexpr int kFlushMilliseconds = 5;

// --exec: an init that has not begun with the command in so much of the guest's time never will,
// and how often that is looked at.
constexpr std::chrono::seconds kInitPatience{300};
constexpr int kInitMilliseconds = 250;

std::string errno_text() {
    return std::generic_category().message(errno);
}

// Guest RAM: zero pages that cost nothing until the guest touches them. Large ones where the host
// gives them: a guest that boots touches most of its RAM, and each small page costs a fault.
// Shared, so that an engine can map pages of it where the guest has them.
class Ram {
  public:
    static Result<Ram> allocate(uint64_t bytes) {
        if (bytes > SIZE_MAX - kLargePage)
            return fail("-m: {} bytes of RAM do not fit into this host's address space", bytes);
        const auto size = static_cast<size_t>(bytes);
        void* mapping = mmap(nullptr, size + kLargePage, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping == MAP_FAILED)
            return fail("-m: {} bytes of RAM are not to be had from this host: {}", bytes,
                        errno_text());
        void* start = mapping;
        size_t room = size + kLargePage;
        std::align(kLargePage, size, start, room);
        madvise(start, size, MADV_HUGEPAGE);
        return Ram({static_cast<uint8_t*>(mapping), size + kLargePage},
                   {static_cast<uint8_t*>(start), size});
    }
    Ram(Ram&& other) noexcept
        : mapping_(std::exchange(other.mapping_, {})), bytes_(std::exchange(other.bytes_, {})) {}
    Ram& operator=(Ram&&) = delete;
    Ram(const Ram&) = delete;
    ~Ram() {
        if (!mapping_.empty()) munmap(mapping_.data(), mapping_.size());
    }
    std::span<uint8_t> bytes() const { return bytes_; }

  private:
    static constexpr size_t kLargePage = size_t{2} << 20;

    Ram(std::span<uint8_t> mapping, std::span<uint8_t> bytes) : mapping_(mapping), bytes_(bytes) {}
    std::span<uint8_t> mapping_, bytes_;
};

// Signals as events of the poll loop instead of interruptions anywhere.
class Signals {
  public:
    Signals() {
        sigemptyset(&wanted_);
        for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGCONT})
            sigaddset(&wanted_, number);
        sigprocmask(SIG_BLOCK, &wanted_, &before_);
        std::signal(SIGPIPE, SIG_IGN);
        descriptor_ = UniqueFd(signalfd(-1, &wanted_, SFD_CLOEXEC | SFD_NONBLOCK));
    }
    ~Signals() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
    Signals(const Signals&) = delete;
    Signals& operator=(const Signals&) = delete;

    int descriptor() const { return descriptor_.get(); }
    // The next signal's number; 0 when there is none.
    int next() const {
        signalfd_siginfo info;
        return read(descriptor_.get(), &info, sizeof info) == sizeof info
                   ? static_cast<int>(info.ssi_signo)
                   : 0;
    }

  private:
    sigset_t wanted_, before_;
    UniqueFd descriptor_;
};

// ShutdownCause of QEMU's QAPI.
const char* qmp_reason(GuestEnd::Reason reason) {
    switch (reason) {
        case GuestEnd::Reason::PowerOff:
            return "guest-shutdown";
        case GuestEnd::Reason::Reset:
            return "guest-reset";
        case GuestEnd::Reason::Stuck:
            return "guest-panic";
        case GuestEnd::Reason::Failed:
            break;
    }
    return "host-error";
}

class Session {
  public:
    Session(const RunOptions& options, CommandCounts* counts)
        : options_(options), counts_(counts), control_(options.name) {}

    Result<int> run();

  private:
    Result<int> run_to_the_end();
    Result<void> open_outputs();
    Result<void> open_kvm();
    kvm::SoftEngine choose_engine();
    Result<std::unique_ptr<Guest>> boot(Ram& ram);
    // Runs the guest until it ends, gives nothing, or until the user or a signal ends the session,
    // gives the exit status.
    std::optional<int> wait_for_end();
    bool waits_for_init() const { return channel_ && !channel_->begun(); }
    void look_at_init();
    Result<int> exit_status(const GuestEnd& end);
    std::string why_no_status(GuestEnd::Reason reason) const;
    Result<void> reserve_for_counting();
    Result<void> collect_counts();
    Result<void> start_gdb();
    Result<void> start_monitor();
    void finish_monitor(const char* reason);

    std::optional<int> read_typed();
    void send_typed();
    void warn(const std::string& sentence) {
        fmt::print(stderr, "perfvisor: warning: {}\n", sentence);
    }

    const RunOptions& options_;
    CommandCounts* const counts_;
    Signals signals_;
    std::optional<host::PerfmonRegistry> registry_;
    std::optional<host::Reservation> counting_;  // counting from outside is a host user's
    std::optional<host::RegistryPmcHardware> hardware_;
    std::unique_ptr<kvm::System> system_;
    UniqueFd console_log_;
    std::optional<Output> console_;
    std::optional<Output> command_output_;
    std::optional<ExecChannel> channel_;
    PanicWatch panic_;
    uint64_t init_waited_for_since_ = 0;  // nanoseconds of guest time
    std::unique_ptr<Guest> guest_;
    GuestControl control_;
    std::optional<host::RuntimeDirectory> runtime_;
    std::optional<GuestDebug> debug_;
    std::unique_ptr<Monitor> monitor_;  // this and gdb go first, before what they show
    std::unique_ptr<GdbServer> gdb_;
    bool monitor_refused_ = false;
    const char* leave_reason_ = "host-ui";  // in QMP's words, why wait_for_end() gave a status
    UniqueFd room_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};  // readable: console input has room
    EscapeFilter escapes_;
    bool terminal_ = isatty(STDIN_FILENO) != 0;
    bool input_open_ = true;
    std::deque<uint8_t> typed_;  // not yet taken by the guest
};

Result<int> Session::run() {
    auto status = run_to_the_end();
    if (console_ && console_->error() != 0)
        warn(fmt::format("{}: not all of the console's output could be written: {}",
                         options_.console_log ? "--console-log"
                         : options_.exec      ? "standard error"
                                              : "standard output",
                         std::generic_category().message(console_->error())));
    if (gdb_) gdb_->finish(status.value_or(1));
    return status;
}

Result<int> Session::run_to_the_end() {
    if (auto opened = open_outputs(); !opened) return tl::unexpected(opened.error());
    if (auto opened = open_kvm(); !opened) return tl::unexpected(opened.error());
    auto ram = Ram::allocate(options_.memory_bytes);
    if (!ram) return tl::unexpected(ram.error());

    if (options_.start_paused) control_.pause();
    if (options_.gdb)
        if (auto started = start_gdb(); !started) return tl::unexpected(started.error());

    std::optional<RawTerminal> raw;
    for (;;) {
        auto guest = boot(*ram);
        if (!guest) return tl::unexpected(guest.error());
        guest_ = std::move(*guest);
        if (!raw && !options_.exec) raw.emplace(STDIN_FILENO);
        control_.attach(*guest_);
        if (debug_) debug_->attach(*guest_);
        if (!monitor_)
            if (auto started = start_monitor(); !started) return tl::unexpected(started.error());
        guest_->start();
        const std::optional<int> status = wait_for_end();
        guest_->stop();
        control_.detach();
        if (debug_) debug_->detach();
        console_->flush();
        if (status) {
            finish_monitor(leave_reason_);
            return *status;
        }
        const GuestEnd end = *guest_->end();
        const Result<void> counted = collect_counts();
        // The boot goes, its reservation with it; the next one reserves afresh.
        guest_.reset();
        if (end.reason != GuestEnd::Reason::Reset || options_.no_reboot || options_.exec) {
            raw.reset();
            finish_monitor(qmp_reason(end.reason));
            const Result<int> left = exit_status(end);
            return left && !counted ? Result<int>(tl::unexpected(counted.error())) : left;
        }
        const bool asked = control_.take_reset_asked();
        if (monitor_)
            monitor_->tell(monitor_event(
                "RESET",
                {{"guest", !asked}, {"reason", asked ? "host-qmp-system-reset" : "guest-reset"}}));
    }
}

Result<void> Session::start_gdb() {
    const auto address = parse_gdb_address(*options_.gdb);
    if (!address) return tl::unexpected(address.error());
    // The host's clock goes on while a person thinks: without this, every step would lead into the
    // timer interrupt's handler. The virtual one waits, and stays exact.
    const bool step_without_interrupts = options_.clock == kvm::SoftClock::Host;
    debug_.emplace(step_without_interrupts,
                   GuestDebug::Hooks{.resumed = [this] { control_.resume(); },
                                     .kill = [this] { control_.quit(); },
                                     .warn = [this](const std::string& text) { warn(text); }});
    auto server = GdbServer::start(*address, *debug_);
    if (!server) return tl::unexpected(server.error());
    gdb_ = std::move(*server);
    if (options_.start_paused)
        fmt::print(stderr, "perfvisor: the guest waits for gdb: target remote {}\n",
                   gdb_->address());
    return {};
}

// A guest runs without a monitor, too, unless its place was chosen.
Result<void> Session::start_monitor() {
    auto directory = host::RuntimeDirectory::open({.path = options_.runtime_directory});
    std::string why;
    if (directory) {
        runtime_ = std::move(*directory);
        auto socket = MonitorSocket::listen(*runtime_);
        auto monitor = socket ? Monitor::start(std::move(*socket), control_)
                              : Result<std::unique_ptr<Monitor>>(tl::unexpected(socket.error()));
        if (monitor) {
            monitor_ = std::move(*monitor);
            return {};
        }
        why = monitor.error().message;
    } else {
        why = directory.error().message;
    }
    if (!options_.runtime_directory.empty()) return fail("--runtime-dir: {}", why);
    if (!monitor_refused_) warn(fmt::format("the guest has no monitor: {}", why));
    monitor_refused_ = true;
    return {};
}

// What the guest has counted to its end is the last that clients hear.
void Session::finish_monitor(const char* reason) {
    if (!monitor_) return;
    std::vector<Json> events;
    if (auto stats = monitor_stats(control_))
        events.push_back(monitor_event(kFinalStatsEvent, {{"stats", std::move(*stats)}}));
    const bool guest = std::string_view(reason).starts_with("guest");
    events.push_back(monitor_event("SHUTDOWN", {{"guest", guest}, {"reason", reason}}));
    monitor_->finish(std::move(events));
    monitor_.reset();
}

Result<void> Session::open_outputs() {
    int console = options_.exec ? STDERR_FILENO : STDOUT_FILENO;
    if (options_.console_log) {
        console_log_ = UniqueFd(
            open(options_.console_log->c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
        if (!console_log_)
            return fail("--console-log: {} cannot be written: {}", options_.console_log->string(),
                        errno_text());
        console = console_log_.get();
    }
    console_.emplace(console);
    if (options_.exec) {
        command_output_.emplace(STDOUT_FILENO);
        channel_.emplace(
            *options_.exec,
            [this](std::span<const uint8_t> bytes) { command_output_->write(bytes); },
            !options_.count_command.empty());
    }
    return {};
}

kvm::SoftEngine Session::choose_engine() {
    if (options_.engine) return *options_.engine;
    const auto missing = kvm::translator_missing();
    if (!missing) return kvm::SoftEngine::Translator;
    warn(fmt::format("the interpreter executes the guest, several times slower: {}", *missing));
    return kvm::SoftEngine::Interpreter;
}

Result<void> Session::open_kvm() {
    if (!options_.count_command.empty())
        if (auto reserved = reserve_for_counting(); !reserved) return reserved;
    if (options_.accelerator == Accelerator::Kvm) {
        auto system = kvm::open_linux_kvm();
        if (!system) return tl::unexpected(system.error());
        system_ = std::move(*system);
        return kvm::check_required_extensions(*system_);
    }
    kvm::SoftOptions soft;
    soft.engine = choose_engine();
    soft.clock = options_.clock;
    soft.cpu_model = options_.cpu;
    soft.guest_name = options_.name;
    if (options_.reserve_perfmon != ReservePerfmon::No) {
        auto registry = host::PerfmonRegistry::open({.path = options_.runtime_directory});
        if (!registry) return tl::unexpected(registry.error());
        registry_ = std::move(*registry);
        host::HolderInfo owner;
        owner.name = options_.name;
        hardware_.emplace(*registry_, owner);
        soft.pmc = &*hardware_;
    }
    auto system = kvm::make_soft_kvm(soft);
    if (!system) return tl::unexpected(system.error());
    system_ = std::move(*system);
    return {};
}

Result<std::unique_ptr<Guest>> Session::boot(Ram& ram) {
    machine::BootFiles files;
    files.kernel = options_.kernel;
    files.firmware = options_.firmware;
    files.initrd = options_.initrd;
    files.dtb = options_.dtb;
    Guest::Io io;
    io.serial_output[0] = [this](std::span<const uint8_t> bytes) {
        console_->write(bytes);
        panic_.receive(bytes);
    };
    if (channel_) {
        files.extra_files = channel_->initramfs_files();
        if (!options_.count_command.empty()) io.marks = channel_->marks();
        io.serial_output[1] = [this](std::span<const uint8_t> bytes) { channel_->receive(bytes); };
    }
    io.console_ready = [this] { eventfd_write(room_.get(), 1); };
    io.warn = [this](const std::string& sentence) { warn(sentence); };
    io.debug_exit = [this](unsigned cpu, const kvm_debug_exit_arch& exit) {
        debug_->debug_exit(cpu, exit);
    };
    return Guest::boot(*system_, options_, ram.bytes(), files, std::move(io));
}

std::optional<int> Session::wait_for_end() {
    enum { kEnd, kSignal, kQuit, kTyped, kRoom, kTimer, kConsole, kCommand, kCount };
    std::array<pollfd, kCount> events = {};
    const auto watch = [&](unsigned n, int descriptor) { events[n] = {descriptor, POLLIN, 0}; };
    watch(kEnd, guest_->end_descriptor());
    watch(kSignal, signals_.descriptor());
    watch(kQuit, control_.quit_descriptor());
    watch(kRoom, room_.get());
    watch(kTimer, guest_->timer_descriptor());
    for (;;) {
        // The terminal is read only while the guest keeps up.
        const bool read_more = input_open_ && typed_.empty() && !options_.exec;
        watch(kTyped, read_more ? STDIN_FILENO : -1);
        watch(kConsole, console_->pending());
        watch(kCommand, command_output_ ? command_output_->pending() : -1);
        const int limit = waits_for_init() ? kInitMilliseconds : -1;
        if (poll(events.data(), events.size(), limit) < 0) continue;
        if (waits_for_init()) look_at_init();

        if (events[kConsole].revents || events[kCommand].revents) {
            poll(&events[kEnd], 1, kFlushMilliseconds);
            console_->flush();
            if (command_output_) command_output_->flush();
        }
        if (events[kEnd].revents) return std::nullopt;
        if (events[kQuit].revents) {
            leave_reason_ = "host-qmp-quit";
            return 0;
        }
        if (events[kTimer].revents) guest_->run_timers();
        if (events[kRoom].revents) {
            eventfd_t count = 0;
            eventfd_read(room_.get(), &count);
            send_typed();
        }
        if (events[kTyped].revents)
            if (const auto status = read_typed()) return status;
        if (events[kSignal].revents) {
            while (const int number = signals_.next())
                if (number != SIGCONT) {
                    leave_reason_ = "host-signal";
                    return 128 + number;
                }
        }
    }
}

std::optional<int> Session::read_typed() {
    std::array<uint8_t, 4096> buffer;
    const ssize_t n = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (n <= 0) {
        if (n == 0 || (errno != EINTR && errno != EAGAIN)) input_open_ = false;
        return std::nullopt;
    }
    std::span<const uint8_t> bytes(buffer.data(), static_cast<size_t>(n));
    EscapeFilter::Result filtered;
    if (terminal_) {
        filtered = escapes_.filter(bytes);
        bytes = filtered.bytes;
    }
    typed_.insert(typed_.end(), bytes.begin(), bytes.end());
    send_typed();
    if (filtered.help) fmt::print(stderr, "\r\nCtrl-A X: leave   Ctrl-A Ctrl-A: send Ctrl-A\r\n");
    return filtered.leave ? std::optional<int>(0) : std::nullopt;
}

void Session::send_typed() {
    while (!typed_.empty()) {
        std::array<uint8_t, 256> chunk;
        const size_t n = std::min(chunk.size(), typed_.size());
        std::copy_n(typed_.begin(), n, chunk.begin());
        const size_t taken = guest_->send_to_console({chunk.data(), n});
        typed_.erase(typed_.begin(), typed_.begin() + static_cast<std::ptrdiff_t>(taken));
        if (taken < n) return;
    }
}

Result<void> Session::reserve_for_counting() {
    auto registry = host::PerfmonRegistry::open({.path = options_.runtime_directory});
    if (!registry) return tl::unexpected(registry.error());
    host::HolderInfo user;
    user.holder_class = host::HolderClass::kHost;
    user.name = options_.name;
    auto reserved = registry->reserve_for_host(user);
    if (!reserved) return fail("--stat: {}", reserved.error().error.message);
    counting_.emplace(std::move(*reserved));
    return {};
}

Result<void> Session::collect_counts() {
    if (options_.count_command.empty()) return {};
    for (unsigned cpu = 0; cpu < guest_->cpus(); ++cpu) {
        auto counted = guest_->window_totals(cpu);
        if (!counted) return tl::unexpected(counted.error());
        if (!counted->opened)
            return fail("--stat: the guest's init does not mark the command (guest/README.md)");
        if (!counted->closed)
            return fail("--stat: the guest ended before the command had, so it is not counted");
        counts_->nanoseconds = counted->nanoseconds;
        if (counts_->events.empty()) {
            counts_->events = std::move(counted->counts);
            continue;
        }
        for (size_t n = 0; n < counts_->events.size(); ++n) {
            counts_->events[n].user += counted->counts[n].user;
            counts_->events[n].supervisor += counted->counts[n].supervisor;
        }
    }
    return {};
}

// A guest that was stopped, by a debugger or the monitor, has all its time again.
void Session::look_at_init() {
    const uint64_t now = guest_->nanoseconds();
    if (options_.gdb || control_.paused()) init_waited_for_since_ = now;
    if (std::chrono::nanoseconds(now - init_waited_for_since_) > kInitPatience)
        guest_->fail_with(fmt::format(
            "--exec: the guest's init has not begun with the command in {} seconds of the guest's "
            "time: it is not one that takes commands (guest/README.md)",
            kInitPatience.count()));
}

Result<int> Session::exit_status(const GuestEnd& end) {
    if (channel_) channel_->finish();
    if (command_output_) command_output_->flush();
    if (end.reason == GuestEnd::Reason::Failed) return fail("{}", end.message);
    if (command_output_ && command_output_->error() != 0)
        return fail("--exec: the command's output could not be written: {}",
                    std::generic_category().message(command_output_->error()));
    const bool stuck = end.reason == GuestEnd::Reason::Stuck;
    if (channel_ && channel_->status()) {
        // It was only that the kernel could not end the machine.
        if (stuck) warn(fmt::format("the guest did not power off: {}", end.message));
        return *channel_->status();
    }
    if (stuck && panic_.panic().empty())
        return fail("the guest can go no further: {}", end.message);
    if (stuck || channel_) return fail("{}", why_no_status(end.reason));
    return 0;
}

std::string Session::why_no_status(GuestEnd::Reason reason) const {
    const char* const prefix = channel_ ? "--exec: " : "";
    if (!panic_.panic().empty())
        return fmt::format("{}the guest's kernel panicked: {}", prefix, panic_.panic());
    const char* const ended = reason == GuestEnd::Reason::Reset ? "reset" : "powered off";
    if (!channel_->begun())
        return fmt::format(
            "{}the guest {}, and its init had not begun with the command (guest/README.md says "
            "what an init has to do)",
            prefix, ended);
    return fmt::format("{}the guest {} before the command had ended", prefix, ended);
}

}  // namespace

Result<int> run_guest(const RunOptions& options, CommandCounts* counts) {
    return Session(options, counts).run();
}

}  // namespace perfvisor::vmm
