// SPDX-License-Identifier: GPL-2.0-or-later
// Raw mode, its restoration in every case, and the Ctrl-A escapes.
#include "vmm/terminal.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>

namespace perfvisor::vmm {
namespace {

// What a signal handler needs to restore the terminal. One terminal per process.
std::atomic<int> saved_descriptor{-1};
termios saved_mode;

constexpr std::array kFatalSignals = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGQUIT};

void restore() {
    const int descriptor = saved_descriptor.load(std::memory_order_relaxed);
    if (descriptor >= 0) tcsetattr(descriptor, TCSADRAIN, &saved_mode);
}

extern "C" void restore_and_die(int signal_number) {
    restore();
    // The handler was installed with SA_RESETHAND: the signal's own effect follows.
    raise(signal_number);
}

}  // namespace

RawTerminal::RawTerminal(int descriptor) : descriptor_(descriptor) {
    if (!isatty(descriptor_) || tcgetattr(descriptor_, &saved_mode) != 0) {
        descriptor_ = -1;
        return;
    }
    saved_descriptor = descriptor_;
    struct sigaction action = {};
    action.sa_handler = restore_and_die;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
    for (const int number : kFatalSignals)
        sigaction(number, &action, nullptr);
    enter();
}

RawTerminal::~RawTerminal() {
    restore();
    if (descriptor_ >= 0) saved_descriptor = -1;
}

void RawTerminal::enter() {
    if (descriptor_ < 0) return;
    termios raw = saved_mode;
    cfmakeraw(&raw);
    raw.c_oflag |= OPOST;  // Our own messages keep their line ends; the guest sends CR LF itself.
    tcsetattr(descriptor_, TCSADRAIN, &raw);
}

EscapeFilter::Result EscapeFilter::filter(std::span<const uint8_t> typed) {
    constexpr uint8_t kCtrlA = 1;
    Result result;
    for (const uint8_t byte : typed) {
        if (!escaped_) {
            if (byte == kCtrlA)
                escaped_ = true;
            else
                result.bytes.push_back(byte);
            continue;
        }
        escaped_ = false;
        switch (byte) {
            case 'x':
            case 'X':
                result.leave = true;
                return result;
            case 'h':
            case 'H':
                result.help = true;
                break;
            case kCtrlA:
                result.bytes.push_back(kCtrlA);
                break;
            default:
                result.bytes.push_back(kCtrlA);
                result.bytes.push_back(byte);
        }
    }
    return result;
}

}  // namespace perfvisor::vmm
