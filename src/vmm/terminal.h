// SPDX-License-Identifier: GPL-2.0-or-later
// The user's terminal as the guest's serial console.
#pragma once

#include <termios.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace perfvisor::vmm {

// Puts a terminal into raw mode for its lifetime. The terminal is restored when the object goes,
// and also when the process ends by a signal that can be caught (fatal ones included).
class RawTerminal {
  public:
    // `descriptor` need not be a terminal: then nothing happens.
    explicit RawTerminal(int descriptor);
    ~RawTerminal();
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

    // Raw again after the process was stopped and continued (SIGCONT).
    void enter();

  private:
    int descriptor_;
};

// QEMU's escape on a stream of typed bytes: Ctrl-A X leaves, Ctrl-A Ctrl-A is one Ctrl-A, Ctrl-A H
// helps; anything else after Ctrl-A goes through with it.
class EscapeFilter {
  public:
    struct Result {
        std::vector<uint8_t> bytes;  // for the guest
        bool leave = false;          // Ctrl-A X was typed; the bytes before it are in `bytes`
        bool help = false;           // Ctrl-A H was typed
    };
    Result filter(std::span<const uint8_t> typed);

  private:
    bool escaped_ = false;
};

}  // namespace perfvisor::vmm
