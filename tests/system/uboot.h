// SPDX-License-Identifier: GPL-2.0-or-later
// A U-Boot for qemu-ppce500 that a test talks with at its prompt.
#pragma once

#include <string>
#include <vector>

#include "conversation.h"

namespace perfvisor::test {

class UBoot : public Conversation {
  public:
    // `firmware` as -bios takes it.
    explicit UBoot(const std::string& firmware, const std::vector<std::string>& options = {})
        : Conversation(command(firmware, options)) {
        to_prompt();
    }

    // Keys typed before the serial port is set up are lost. The first one ends the countdown.
    void to_prompt() {
        text("Hit any key");
        say(" ");
        text("=> ");
    }

  private:
    static std::vector<std::string> command(const std::string& firmware,
                                            const std::vector<std::string>& options) {
        std::vector<std::string> words = {PERFVISOR_BINARY, "run", "-bios", firmware};
        words.insert(words.end(), options.begin(), options.end());
        return words;
    }
};

}  // namespace perfvisor::test
