// SPDX-License-Identifier: GPL-2.0-or-later
// A guest of two vCPUs and a page of memory at 0x1000 for the tests of gdb's protocol.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "vmm/gdb_registers.h"
#include "vmm/gdb_session.h"

namespace perfvisor::vmm {

class FakeGdbTarget final : public GdbTarget {
  public:
    static constexpr uint64_t kBase = 0x1000, kSize = 0x1000;

    unsigned cpus() const override { return 2; }
    std::string cpu_state(unsigned) const override { return "stopped"; }
    Result<uint64_t> read_register(unsigned cpu, unsigned number) override {
        if (number >= gdb_register_count() || number == unreadable) return fail("no such register");
        const auto found = registers.find({cpu, number});
        return found == registers.end() ? 0 : found->second;
    }
    Result<void> write_register(unsigned cpu, unsigned number, uint64_t value) override {
        if (number >= gdb_register_count()) return fail("no such register");
        registers[{cpu, number}] = value;
        return {};
    }
    Result<std::vector<uint8_t>> read_memory(unsigned, uint64_t address, size_t size,
                                             bool physical) override {
        was_physical = physical;
        if (address - kBase >= kSize) return fail("nothing there");
        const auto start = memory.begin() + static_cast<std::ptrdiff_t>(address - kBase);
        const auto length = std::min<uint64_t>(size, kBase + kSize - address);
        return std::vector<uint8_t>(start, start + static_cast<std::ptrdiff_t>(length));
    }
    Result<void> write_memory(unsigned, uint64_t address, std::span<const uint8_t> bytes,
                              bool) override {
        if (address - kBase >= kSize || bytes.size() > kBase + kSize - address)
            return fail("nothing there");
        std::copy(bytes.begin(), bytes.end(),
                  memory.begin() + static_cast<std::ptrdiff_t>(address - kBase));
        return {};
    }
    Result<void> insert(unsigned, const DebugPoint& point) override {
        if (points.size() >= 16) return fail("no room");
        points.push_back(point);
        return {};
    }
    Result<void> remove(const DebugPoint& point) override {
        std::erase(points, point);
        return {};
    }
    bool step_without_interrupts() const override { return no_interrupts; }
    void set_step_without_interrupts(bool on) override { no_interrupts = on; }
    void resume(std::span<const Course> courses) override {
        last_courses.assign(courses.begin(), courses.end());
        ++resumes;
    }
    void stop() override { ++stops; }
    void let_go() override { ++let_goes; }
    void kill() override { ++kills; }

    std::map<std::pair<unsigned, unsigned>, uint64_t> registers;
    unsigned unreadable = ~0u;
    std::vector<uint8_t> memory = std::vector<uint8_t>(kSize);
    bool was_physical = false, no_interrupts = false;
    std::vector<DebugPoint> points;
    std::vector<Course> last_courses;
    int resumes = 0, stops = 0, let_goes = 0, kills = 0;
};

}  // namespace perfvisor::vmm
