// SPDX-License-Identifier: GPL-2.0-or-later
// Linux's last words are found on its console, whatever else is there.
#include "vmm/panic_watch.h"

#include <gtest/gtest.h>

namespace perfvisor::vmm {
namespace {

std::string panic_in(const std::string& console, size_t piece) {
    PanicWatch watch;
    for (size_t at = 0; at < console.size(); at += piece) {
        const std::string part = console.substr(at, piece);
        watch.receive({reinterpret_cast<const uint8_t*>(part.data()), part.size()});
    }
    return watch.panic();
}

TEST(PanicWatch, TheLineIsFoundBehindItsTimeInPiecesOfAnySize) {
    const std::string console =
        "[    0.1] Linux version\r\n"
        "[    0.130100] Kernel panic - not syncing: sysrq triggered crash\r\n"
        "[    0.130110] CPU: 0 PID: 42\r\n";
    for (const size_t piece : {1u, 7u, 1000u})
        EXPECT_EQ(panic_in(console, piece), "Kernel panic - not syncing: sysrq triggered crash");
}

TEST(PanicWatch, TheFirstIsTold) {
    EXPECT_EQ(panic_in("Kernel panic - one\nKernel panic - two\n", 5), "Kernel panic - one");
}

TEST(PanicWatch, WithoutOneThereIsNone) {
    EXPECT_EQ(panic_in("kernel panic? no\nKernel panic", 100), "");
}

// It goes to a person's terminal.
TEST(PanicWatch, NothingButPrintableCharactersIsTaken) {
    EXPECT_EQ(panic_in("Kernel panic - \x1b[2J\x01\xff!\n", 100), "Kernel panic -  [2J  !");
    EXPECT_LE(panic_in("Kernel panic - " + std::string(100'000, 'x') + "\n", 999).size(), 512u);
}

}  // namespace
}  // namespace perfvisor::vmm
