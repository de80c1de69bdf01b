// SPDX-License-Identifier: GPL-2.0-or-later
// The UART as a driver sees it: identification, interrupts by priority, FIFO, loopback.
#include "devices/uart16550.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

namespace perfvisor::devices {
namespace {

enum Register : uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScr };
constexpr uint64_t kFcr = kIir;

class Uart : public testing::Test {
  protected:
    uint8_t in(uint64_t reg) { return static_cast<uint8_t>(uart.read({reg, 1, 0})); }
    void out(uint64_t reg, uint8_t value) { uart.write({reg, 1, 0}, value); }
    size_t type(std::string_view text) {
        return uart.receive({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
    }
    std::string drain() {
        std::string text;
        while ((in(kLsr)&1) != 0)
            text.push_back(static_cast<char>(in(kData)));
        return text;
    }

    bool irq = false;
    int ready_calls = 0;
    std::string sent;
    Uart16550 uart{
        IrqLine([this](bool level) { irq = level; }),
        [this](std::span<const uint8_t> bytes) { sent.append(bytes.begin(), bytes.end()); },
        [this] { ++ready_calls; }};
};

TEST_F(Uart, SendsEachCharacterAndIsAlwaysReadyForMore) {
    for (const char c : std::string("hello")) {
        EXPECT_EQ(in(kLsr)&0x60, 0x60);
        out(kData, static_cast<uint8_t>(c));
    }
    EXPECT_EQ(sent, "hello");
}

// The steps of Linux's autoconfig() and size_fifo() in drivers/tty/serial/8250/8250_port.c.
TEST_F(Uart, IsRecognisedAsA16550A) {
    out(kIer, 0);
    EXPECT_EQ(in(kIer), 0);
    out(kIer, 0x0f);
    EXPECT_EQ(in(kIer)&0x0f, 0x0f);
    out(kIer, 0);
    out(kMcr, 0x10 | 0x0a);  // Loop, OUT2, RTS.
    EXPECT_EQ(in(kMsr)&0xf0, 0x90);
    out(kMcr, 0);
    out(kLcr, 0);
    out(kFcr, 1);
    EXPECT_EQ(in(kIir) >> 6, 3) << "both FIFO bits: 16550A";
    out(kFcr, 0x21);
    EXPECT_EQ(in(kIir)&0x20, 0) << "no 64-byte FIFO: not a 16750";
    out(kIer, 0x40);
    EXPECT_EQ(in(kIer)&0x40, 0) << "no UUE bit: not an XScale";
    out(kScr, 0xa5);
    EXPECT_EQ(in(kScr), 0xa5);
}

TEST_F(Uart, DivisorLatchHidesDataAndInterruptEnable) {
    out(kIer, 0x05);
    out(kLcr, 0x83);
    out(kData, 0x34);
    out(kIer, 0x12);
    EXPECT_EQ(in(kData), 0x34);
    EXPECT_EQ(in(kIer), 0x12);
    out(kLcr, 0x03);
    EXPECT_EQ(in(kIer), 0x05);
    EXPECT_EQ(sent, "");
    EXPECT_EQ(uart.state().divisor, 0x1234);
}

TEST_F(Uart, EnablingTheTransmitInterruptRaisesItAtOnceAndIirClearsIt) {
    EXPECT_FALSE(irq);
    out(kIer, 0x02);
    EXPECT_TRUE(irq);
    EXPECT_EQ(in(kIir), 0x02);
    EXPECT_FALSE(irq);
    EXPECT_EQ(in(kIir), 0x01);
    out(kData, 'x');
    EXPECT_TRUE(irq) << "empty again";
    out(kIer, 0x00);
    EXPECT_FALSE(irq);
    // Linux tests for UART_BUG_THRE by disabling and enabling once more.
    in(kIir);
    out(kIer, 0x02);
    EXPECT_EQ(in(kIir)&0x0f, 0x02);
}

TEST_F(Uart, ReceivedDataInterruptsUntilItIsRead) {
    out(kIer, 0x01);
    EXPECT_EQ(type("a"), 1U);
    EXPECT_TRUE(irq);
    EXPECT_EQ(in(kIir), 0x04);
    EXPECT_EQ(in(kLsr)&1, 1);
    EXPECT_EQ(in(kData), 'a');
    EXPECT_FALSE(irq);
    EXPECT_EQ(in(kLsr)&1, 0);
    EXPECT_EQ(in(kData), 0) << "nothing there";
}

TEST_F(Uart, BelowTheTriggerLevelACharacterTimeoutIsSignalled) {
    out(kFcr, 0x81);  // FIFO, trigger at 8.
    out(kIer, 0x01);
    type("1234567");
    EXPECT_TRUE(irq);
    EXPECT_EQ(in(kIir), 0xcc);
    type("8");
    EXPECT_EQ(in(kIir), 0xc4);
    EXPECT_EQ(in(kData), '1');
    EXPECT_EQ(in(kIir), 0xcc);
    EXPECT_EQ(drain(), "2345678");
    EXPECT_FALSE(irq);
    EXPECT_EQ(in(kIir), 0xc1);
}

TEST_F(Uart, InterruptsComeInTheOrderOfTheDataSheet) {
    out(kFcr, 1);
    out(kMcr, 0x10);  // Loopback, to cause a line-status and a modem-status interrupt.
    for (int i = 0; i < 17; ++i)
        out(kData, 'x');
    out(kMcr, 0x12);
    out(kIer, 0x0f);
    EXPECT_EQ(in(kIir), 0xc6) << "line status: overrun";
    EXPECT_EQ(in(kLsr)&0x02, 0x02);
    EXPECT_EQ(in(kIir), 0xc4) << "received data";
    drain();
    EXPECT_EQ(in(kIir), 0xc2) << "transmitter empty";
    EXPECT_EQ(in(kIir), 0xc0) << "modem status";
    EXPECT_NE(in(kMsr)&0x0f, 0);
    EXPECT_EQ(in(kIir), 0xc1);
    EXPECT_FALSE(irq);
}

TEST_F(Uart, MoreInputThanTheFifoHoldsWaitsAndArrivesInOrder) {
    out(kFcr, 1);
    std::string text(100, ' ');
    std::iota(text.begin(), text.end(), '!');
    EXPECT_EQ(type(text), text.size());
    EXPECT_EQ(uart.state().fifo.size(), 16U);
    EXPECT_EQ(drain(), text);
}

TEST_F(Uart, RefusesInputBeyondItsQueueAndSaysWhenThereIsRoom) {
    const std::string text(2 * Uart16550::kMaxWaitingBytes, 'z');
    const size_t taken = type(text);
    EXPECT_LT(taken, text.size());
    EXPECT_EQ(type("more"), 1U) << "the one byte that went on into the data register";
    EXPECT_EQ(type("more"), 0U);
    EXPECT_EQ(ready_calls, 0);
    EXPECT_EQ(drain().size(), taken + 1);
    EXPECT_EQ(ready_calls, 1);
    EXPECT_EQ(type("more"), 4U);
}

TEST_F(Uart, TogglingTheFifosDropsWhatTheyHold) {
    out(kFcr, 1);
    type("abc");
    out(kFcr, 0);
    EXPECT_EQ(in(kLsr)&1, 0);
    EXPECT_EQ(in(kIir), 0x01);
    out(kFcr, 1);
    type("def");
    out(kFcr, 3);
    EXPECT_EQ(in(kLsr)&1, 0);
}

TEST_F(Uart, LoopbackReturnsCharactersAndKeepsInputOut) {
    out(kFcr, 1);
    out(kMcr, 0x10);
    type("host");
    out(kData, 'L');
    EXPECT_EQ(sent, "");
    EXPECT_EQ(drain(), "L");
    out(kMcr, 0);
    EXPECT_EQ(drain(), "host");
}

TEST_F(Uart, LoopbackOverrunIsReportedOnceInLsr) {
    out(kMcr, 0x10);
    out(kData, 'a');
    out(kData, 'b');
    EXPECT_EQ(in(kLsr)&0x02, 0x02);
    EXPECT_EQ(in(kLsr)&0x02, 0);
    EXPECT_EQ(in(kData), 'b') << "without FIFOs the newer character wins";
}

TEST_F(Uart, ResetLowersTheLineAndKeepsWhatWaitsOutside) {
    out(kFcr, 1);
    out(kIer, 0x01);
    type(std::string(20, 'q'));
    EXPECT_TRUE(irq);
    uart.reset();
    EXPECT_FALSE(irq);
    EXPECT_EQ(in(kIer), 0);
    EXPECT_EQ(drain(), "qqqq") << "the 16 in the FIFO are gone";
}

TEST_F(Uart, RestoredStateBehavesLikeTheSavedOne) {
    out(kFcr, 1);
    out(kIer, 0x01);
    type("ab");
    const auto saved = uart.state();
    uart.reset();
    EXPECT_FALSE(irq);
    uart.restore(saved);
    EXPECT_TRUE(irq);
    EXPECT_EQ(drain(), "ab");
}

}  // namespace
}  // namespace perfvisor::devices
