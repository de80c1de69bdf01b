// SPDX-License-Identifier: GPL-2.0-or-later
// The guest as its debugger sees it: one guest over all its boots, by KVM_SET_GUEST_DEBUG,
// registers and KVM_TRANSLATE.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "vmm/gdb_session.h"
#include "vmm/guest.h"

namespace perfvisor::vmm {

class GuestDebug final : public GdbTarget {
  public:
    struct Hooks {
        std::function<void()> resumed;  // also what was stopped by others is to go on
        std::function<void()> kill;
        std::function<void(const std::string&)> warn;
    };
    // `step_without_interrupts`: while stepping, until the debugger says otherwise.
    GuestDebug(bool step_without_interrupts, Hooks hooks);

    // ---- for the session, on its thread ----
    // A boot begins, its vCPUs do not run yet.
    void attach(Guest& guest);
    // The boot is over and its vCPUs have stopped.
    void detach();
    // From a vCPU's thread, which rests from now on: KVM_EXIT_DEBUG.
    void debug_exit(unsigned cpu, const kvm_debug_exit_arch& exit);

    // ---- for the debugger's thread ----
    // Readable once debug_exit() was called; then take_stop() stops the others and gives why.
    int stop_descriptor() const { return stop_event_.get(); }
    std::optional<DebugStop> take_stop();

    // ---- GdbTarget ----
    unsigned cpus() const override;
    std::string cpu_state(unsigned cpu) const override;
    Result<uint64_t> read_register(unsigned cpu, unsigned number) override;
    Result<void> write_register(unsigned cpu, unsigned number, uint64_t value) override;
    Result<std::vector<uint8_t>> read_memory(unsigned cpu, uint64_t address, size_t size,
                                             bool physical) override;
    Result<void> write_memory(unsigned cpu, uint64_t address, std::span<const uint8_t> bytes,
                              bool physical) override;
    Result<void> insert(unsigned cpu, const DebugPoint& point) override;
    Result<void> remove(const DebugPoint& point) override;
    bool step_without_interrupts() const override;
    void set_step_without_interrupts(bool on) override;
    void resume(std::span<const Course> courses) override;
    void stop() override;
    void let_go() override;
    void kill() override;

  private:
    struct Inserted {
        DebugPoint point;
        // Where KVM had no room for a breakpoint: the instruction that was replaced by KVM's own.
        struct Patch {
            uint64_t physical;
            uint32_t instruction;  // in memory order
        };
        std::optional<Patch> patch;
    };

    // All with mutex_ held.
    Result<void> need_guest() const;
    Result<void> configure();
    Result<void> configure(unsigned cpu, bool every_byte);
    Result<Inserted::Patch> patch(unsigned cpu, uint32_t address);
    void unpatch(const Inserted::Patch& patch);
    Result<std::span<uint8_t>> memory(unsigned cpu, uint64_t address, bool physical);
    void stop_guest();

    const Hooks hooks_;
    const UniqueFd stop_event_;
    mutable std::mutex mutex_;
    Guest* guest_ = nullptr;  // while a boot lasts
    bool held_ = false;       // by the debugger: also what boots meanwhile
    bool step_without_interrupts_;
    std::vector<Inserted> points_;
    std::vector<Course> courses_;

    std::mutex exit_mutex_;
    std::optional<std::pair<unsigned, kvm_debug_exit_arch>> exit_;  // the first since the last stop
};

}  // namespace perfvisor::vmm
