// SPDX-License-Identifier: GPL-2.0-or-later
// One boot of a guest: VM, vCPUs, board and images, from reset to its end. A guest that resets is
// a new object, so that nothing of the old boot is left, the reservation included.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "kvm/api.h"
#include "kvm/uapi/kvm_soft.h"
#include "machine/ppce500.h"
#include "vmm/exec_channel.h"
#include "vmm/run_options.h"

namespace perfvisor::vmm {

// How a boot ended.
struct GuestEnd {
    enum class Reason : uint8_t {
        PowerOff,
        Reset,
        Stuck,   // it can go no further; `message` says why
        Failed,  // perfvisor or KVM could not go on; `message` says why
    };
    Reason reason = Reason::PowerOff;
    std::string message;
};

class Guest {
  public:
    struct Io {
        // Bytes from the serial ports; called on vCPU threads, one at a time for each port.
        std::array<std::function<void(std::span<const uint8_t>)>, 2> serial_output;
        // Serial port 0 has room for input again; called on vCPU threads.
        std::function<void()> console_ready;
        // A sentence for the user.
        std::function<void(const std::string&)> warn;
        // What the guest writes to DDAM around what is to be counted.
        std::optional<ExecChannel::Marks> marks;
        // KVM_EXIT_DEBUG; called on the thread of the vCPU, which is held from then on.
        std::function<void(unsigned cpu, const kvm_debug_exit_arch&)> debug_exit;
    };

    // Creates VM and vCPUs, reserves the performance monitor as the options say, and loads the
    // images into `ram` (guest physical 0 up; it must outlive the guest). Nothing executes yet.
    static Result<std::unique_ptr<Guest>> boot(kvm::System& system, const RunOptions& options,
                                               std::span<uint8_t> ram,
                                               const machine::BootFiles& files, Io io);
    // Stops all vCPUs.
    ~Guest();
    Guest(const Guest&) = delete;
    Guest& operator=(const Guest&) = delete;

    // Starts the vCPU threads.
    void start();

    // Readable once the guest has ended.
    int end_descriptor() const { return ended_.get(); }
    std::optional<GuestEnd> end() const;

    // Brings every vCPU out of the guest and waits for its thread; the guest is not run again.
    void stop();

    // Console input; gives how many bytes were taken.
    size_t send_to_console(std::span<const uint8_t> bytes);

    // Lets the board's timers expire; call when timer_descriptor() is readable.
    void run_timers();
    int timer_descriptor() const { return timer_.get(); }

    bool has_perfmon() const { return has_perfmon_; }

    // Guest time of this boot, where the KVM has one, or the host's.
    uint64_t nanoseconds();

    // ---- from any thread ----
    // No vCPU executes until resume(), which may come before start(). Gives up waiting for one that
    // cannot leave a device; it stops as soon as it can.
    void pause();
    void resume();
    // As if the guest had asked for it.
    void reset() { leave_with({GuestEnd::Reason::Reset, {}}); }
    // Ends it as GuestEnd::Reason::Failed.
    void fail_with(std::string why) { leave_with({GuestEnd::Reason::Failed, std::move(why)}); }

    unsigned cpus() const { return static_cast<unsigned>(cpus_.size()); }
    // Of the host, once the vCPU runs; 0 before.
    int thread_id(unsigned cpu) const { return cpus_[cpu].thread_id; }
    // Counts of this boot.
    Result<std::vector<kvm::EventTotal>> event_totals(unsigned cpu) const;
    Result<void> count_events(const std::vector<uint32_t>& events, bool on);
    // What was counted in the window that marks() set, with stop() called before.
    Result<kvm::WindowTotals> window_totals(unsigned cpu) const {
        return kvm::window_totals(*cpus_[cpu].vcpu);
    }

    // ---- for a debugger, from any thread ----
    // Like pause() and resume(), and beside them: no vCPU executes, and each has finished what it
    // had begun, until it is released.
    void hold_all();
    void release(unsigned cpu);
    bool started(unsigned cpu) const;
    // Registers may be looked at and changed while it is held.
    kvm::Vcpu& vcpu(unsigned cpu) { return *cpus_[cpu].vcpu; }
    std::span<uint8_t> ram() const { return ram_; }
    // `bytes` of RAM were written from outside the guest, and may be instructions.
    Result<void> memory_written(std::span<const uint8_t> bytes);

  private:
    struct Cpu {
        std::unique_ptr<kvm::Vcpu> vcpu;
        std::vector<kvm_book3e_206_tlb_entry> tlb;  // shared with KVM (KVM_CONFIG_TLB)
        std::optional<machine::CpuStart> start;     // where it starts, once that is known
        unsigned resets = 0;           // how often that was asked for; guarded by mutex_
        bool waits_for_start = false;  // all of those are done; guarded by mutex_
        std::thread thread;
        std::atomic<int> thread_id{0};
        bool executing = false;  // between pauses; guarded by mutex_
        bool held = false;       // by a debugger; guarded by mutex_
    };

    Guest(const RunOptions& options, Io io);
    Result<void> build(kvm::System& system, std::span<uint8_t> ram,
                       const machine::BootFiles& files);
    void warn_of_little_memory(const machine::BootImage& image);
    bool has_soft_kvm() const { return kvm::check_extension(*vm_, KVM_CAP_SOFT) > 0; }
    Result<void> reserve_perfmon();
    Result<void> create_vcpus();
    Result<void> create_machine();
    void wire_time(machine::MachineHooks& hooks);

    void run_thread(unsigned cpu);
    Result<void> enter_start_state(Cpu& cpu, const machine::CpuStart& start);
    void run_vcpu(unsigned cpu, unsigned resets);
    bool wait_while_paused(Cpu& cpu, unsigned resets);
    void start_secondary(const machine::CpuStart& start);
    void reset_secondary(unsigned cpu);
    bool shall_rest(const Cpu& cpu) const;
    void wait_for_rest(std::unique_lock<std::mutex>& lock);
    void leave_with(GuestEnd end);
    // Ends the guest where something failed that cannot.
    void must(const Result<void>& done);
    void set_timer(std::optional<uint64_t> nanoseconds);

    const RunOptions& options_;
    Io io_;
    std::span<uint8_t> ram_;
    UniqueFd ended_;
    UniqueFd timer_;
    std::unique_ptr<kvm::Vm> vm_;
    std::deque<Cpu> cpus_;
    std::unique_ptr<machine::Ppce500> machine_;
    bool has_perfmon_ = false;
    uint64_t started_ = 0;  // the host's nanoseconds

    mutable std::mutex mutex_;  // guards end_, stopping_, paused_ and what Cpu says
    std::condition_variable changed_;
    std::optional<GuestEnd> end_;
    bool stopping_ = false;
    bool paused_ = false;
};

}  // namespace perfvisor::vmm
