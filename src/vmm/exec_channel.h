// SPDX-License-Identifier: GPL-2.0-or-later
// What the guest's init says on the second serial port while it runs `--exec`'s command: that it
// begins, the command's output, then a trailer with its exit status (guest/init.c holds the other
// end).
#pragma once

#include <atomic>
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

    // The token that marks what init says itself is derived from the command, so that a run is
    // repeatable to the bit, and long enough that no output holds it by chance.
    ExecChannel(std::string command, Output output, bool counted = false);

    // What init writes to DDAM around the command when it is counted: KVM_SOFT_SET_WINDOW's marks.
    struct Marks {
        uint32_t open, close;
    };
    Marks marks() const;

    // The files that init looks for: /perfvisor/command, /perfvisor/token and, where the command is
    // to be counted, /perfvisor/marks.
    std::vector<machine::InitramfsFile> initramfs_files() const;

    // For the kernel's command line: an init that takes commands knows by the first that there must
    // be one, though its initrd may have been unpacked in part; where there is no such init, or
    // anything else is beyond help, the kernel resets instead of trying something that never ends.
    static constexpr const char* kKernelArguments = "perfvisor.exec init=/init panic=-1";

    // Bytes from the guest; the command's output goes on, what init says is taken out.
    void receive(std::span<const uint8_t> bytes);

    // Whether init has begun with the command; from any thread. An init that does not say so has
    // when there is output.
    bool begun() const { return begun_.load(); }

    // The guest is gone: what was held back as init's was output after all.
    void finish();

    // The command's exit status, 0-255, once the trailer has come.
    std::optional<int> status() const { return status_; }

  private:
    void match_record();
    enum class Match : uint8_t { No, Possible, Yes };
    Match match_begin() const;
    Match match_trailer();

    std::string command_;
    std::string token_;
    bool counted_;
    Output output_;
    std::string pending_;  // starts with the first byte of what init says
    std::atomic<bool> begun_{false};
    std::optional<int> status_;
};

}  // namespace perfvisor::vmm
