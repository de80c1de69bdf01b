// SPDX-License-Identifier: GPL-2.0-or-later
// What the guest's init says on the second serial port while it runs `--exec`'s command: the
// command's output, then a trailer with its exit status (guest/init holds the other end).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "machine/loaders.h"

namespace perfvisor::vmm {

class ExecChannel {
  public:
    using Output = std::function<void(std::span<const uint8_t>)>;

    // The token that marks the trailer is derived from the command, so that a run is repeatable
    // to the bit, and long enough that no output holds it by chance.
    ExecChannel(std::string command, Output output, bool counted = false);

    // What init writes to DDAM around the command when it is counted: KVM_SOFT_SET_WINDOW's marks.
    struct Marks {
        uint32_t open, close;
    };
    Marks marks() const;

    // The files that init looks for: /perfvisor/command, /perfvisor/token and, where the command is
    // to be counted, /perfvisor/marks.
    std::vector<machine::InitramfsFile> initramfs_files() const;

    // Bytes from the guest; the command's output goes on, the trailer is taken out.
    void receive(std::span<const uint8_t> bytes);

    // The guest is gone: what was held back as a possible trailer was output after all.
    void finish();

    // The command's exit status, 0-255, once the trailer has come.
    std::optional<int> status() const { return status_; }

  private:
    void match_trailer();

    std::string command_;
    std::string token_;
    bool counted_;
    Output output_;
    std::string pending_;  // starts with the trailer's first byte
    std::optional<int> status_;
};

}  // namespace perfvisor::vmm
