// SPDX-License-Identifier: GPL-2.0-or-later
// One debugger's session by gdb's remote serial protocol: the packets and what they do to the
// guest. All vCPUs stop together (all-stop); vCPU n is thread n + 1. No sockets here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "vmm/gdb_packets.h"

namespace perfvisor::vmm {

// A breakpoint or watchpoint, as Z packets number the kinds.
struct DebugPoint {
    enum class Kind : uint8_t { Software, Hardware, Write, Read, Access };
    Kind kind = Kind::Software;
    uint32_t address = 0;  // EA
    uint32_t length = 4;   // bytes that a watchpoint watches
    bool operator==(const DebugPoint&) const = default;
};

// Why the guest stopped.
struct DebugStop {
    unsigned cpu = 0;
    int signal = 5;                   // SIGTRAP; SIGINT (2) after an interrupt
    std::optional<DebugPoint> watch;  // the watchpoint that was hit
};

// The guest behind the session. Called on the debugger's thread; all but stop() and the last three
// while no vCPU executes.
class GdbTarget {
  public:
    // What a vCPU does when the guest goes on.
    enum class Course : uint8_t { Rest, Step, Run };

    virtual ~GdbTarget() = default;
    virtual unsigned cpus() const = 0;
    // What `info threads` shows.
    virtual std::string cpu_state(unsigned cpu) const = 0;
    virtual Result<uint64_t> read_register(unsigned cpu, unsigned number) = 0;
    virtual Result<void> write_register(unsigned cpu, unsigned number, uint64_t value) = 0;
    // As many bytes as there are from `address` on, at most `size`; fails where there is none.
    // `physical`: not through the vCPU's translation.
    virtual Result<std::vector<uint8_t>> read_memory(unsigned cpu, uint64_t address, size_t size,
                                                     bool physical) = 0;
    // All or nothing.
    virtual Result<void> write_memory(unsigned cpu, uint64_t address,
                                      std::span<const uint8_t> bytes, bool physical) = 0;
    virtual Result<void> insert(unsigned cpu, const DebugPoint& point) = 0;
    virtual Result<void> remove(const DebugPoint& point) = 0;
    // Whether a step keeps interrupts away.
    virtual bool step_without_interrupts() const = 0;
    virtual void set_step_without_interrupts(bool on) = 0;
    // One course for each vCPU. Goes on until stop(), or until a stop is told to the session.
    virtual void resume(std::span<const Course> courses) = 0;
    // Returns once no vCPU executes.
    virtual void stop() = 0;
    // The debugger has gone: without breakpoints, the guest goes on.
    virtual void let_go() = 0;
    virtual void kill() = 0;
};

class GdbSession {
  public:
    // The guest has been stopped.
    explicit GdbSession(GdbTarget& target) : target_(target) {}

    struct Answer {
        std::string bytes;
        bool close = false;  // after the bytes
    };
    // Takes bytes as they come, whatever they are.
    Answer receive(std::string_view bytes);

    // The guest runs, and the debugger waits to hear why it stops.
    bool running() const { return running_; }
    // While running: it has stopped. Gives what to send.
    std::string stopped(const DebugStop& stop);
    // The guest is over.
    std::string ended(int status);

  private:
    std::string send(std::string_view data);
    void hear(const GdbInput& input, Answer& answer);
    // The packet's answer; nothing where it comes later.
    std::optional<std::string> execute(std::string_view packet, Answer& answer);
    std::string stop_reply() const;
    std::string query(std::string_view packet);
    std::string set(std::string_view packet);
    std::string select_thread(std::string_view packet);
    std::optional<unsigned> cpu_of(std::string_view thread) const;
    std::string read_registers();
    std::string write_registers(std::string_view hex);
    std::string read_register(std::string_view packet);
    std::string write_register(std::string_view packet);
    std::string read_memory(std::string_view packet);
    std::string write_memory(std::string_view packet, bool binary);
    std::string change_point(std::string_view packet, bool insert);
    std::optional<std::string> go_on(GdbTarget::Course course, std::string_view packet);
    std::optional<std::string> v_packet(std::string_view packet, Answer& answer);
    std::optional<std::string> v_cont(std::string_view actions);

    GdbTarget& target_;
    GdbPacketReader reader_;
    std::string last_sent_;
    bool acknowledge_ = true;
    bool running_ = false;
    bool physical_ = false;  // memory by physical address (QEMU's qqemu.PhyMemMode)
    unsigned cpu_ = 0;       // of registers and memory
    DebugStop last_stop_;
};

}  // namespace perfvisor::vmm
