// SPDX-License-Identifier: GPL-2.0-or-later
// Writes a flattened device tree from first node to last, on top of libfdt's sequential writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace perfvisor::devices {

// Where a device of the CCSR stands and what it is wired to, for its device-tree node.
struct SocNode {
    uint32_t offset = 0;     // Bytes from the CCSR's base.
    uint32_t interrupt = 0;  // MPIC source number.
    uint32_t pic = 0;        // The MPIC's phandle.
};

// Interrupt specifiers of the "fsl,mpic" binding with two cells: the sense cell of an active-high
// level, which all on-chip devices have.
constexpr uint32_t kSenseLevelHigh = 2;

// Errors are kept until finish(), so that writing reads as the tree does.
class FdtBuilder {
  public:
    FdtBuilder();

    void begin_node(const std::string& name);
    void end_node();
    void empty(const char* name);
    void cells(const char* name, std::initializer_list<uint32_t> values);
    void cells(const char* name, std::span<const uint32_t> values);
    void string(const char* name, std::string_view text);
    void strings(const char* name, std::initializer_list<std::string_view> texts);
    void bytes(const char* name, std::span<const uint8_t> content);
    // "phandle", and "linux,phandle" for guests older than the ePAPR.
    void phandle(uint32_t value);
    // "interrupts" and "interrupt-parent" of a device with one level-sensitive interrupt.
    void interrupt(const SocNode& node);

    // The finished tree. Fails when it was too large or nodes were not closed.
    Result<std::vector<uint8_t>> finish();

  private:
    template <typename Operation>
    void run(Operation operation);

    std::vector<uint8_t> buffer_;
    int error_ = 0;  // The first libfdt error, or 0.
};

}  // namespace perfvisor::devices
