// SPDX-License-Identifier: GPL-2.0-or-later
// Interrupt kinds of the e500mc (EREF chapter 7; e500mc core manual chapter 4), numbered by IVOR.
#pragma once

#include <cstdint>

namespace perfvisor::core {

enum class Interrupt : uint8_t {
    CriticalInput = 0,
    MachineCheck = 1,
    DataStorage = 2,
    InstructionStorage = 3,
    ExternalInput = 4,
    Alignment = 5,
    Program = 6,
    FpUnavailable = 7,
    SystemCall = 8,
    ApUnavailable = 9,
    Decrementer = 10,
    FixedIntervalTimer = 11,
    Watchdog = 12,
    DataTlbError = 13,
    InstructionTlbError = 14,
    Debug = 15,
    SpeUnavailable = 32,
    SpeData = 33,
    SpeRound = 34,
    PerformanceMonitor = 35,
    Doorbell = 36,
    CriticalDoorbell = 37,
    Count = 42,
};

// Exception syndrome register bits (ESR, SPR 62).
namespace esr {
constexpr uint32_t kPIL = 0x08000000, kPPR = 0x04000000, kPTR = 0x02000000, kFP = 0x01000000,
                   kST = 0x00800000, kDLK = 0x00200000, kILK = 0x00100000, kBO = 0x00020000,
                   kPIE = 0x00010000, kEPID = 0x00000010;
}  // namespace esr

// A synchronous exception an instruction met, not yet delivered. The instruction has changed
// nothing that re-executing it would not change again in the same way.
struct Fault {
    Interrupt kind = Interrupt::Program;
    uint32_t esr = 0;
    uint64_t dear = 0;
    bool sets_dear = false;
    bool sets_esr = true;
};

}  // namespace perfvisor::core
