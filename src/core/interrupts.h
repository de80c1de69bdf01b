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

// Which registers an interrupt saves pc and MSR in, and which MSR bits it leaves (EREF chapter 7).
enum class InterruptClass : uint8_t {
    Base,          // SRR0, SRR1, rfi
    Critical,      // CSRR0, CSRR1, rfci
    Debug,         // DSRR0, DSRR1, rfdi (category E.ED)
    MachineCheck,  // MCSRR0, MCSRR1, rfmci
};

constexpr InterruptClass interrupt_class(Interrupt kind) {
    switch (kind) {
        case Interrupt::CriticalInput:
        case Interrupt::Watchdog:
        case Interrupt::CriticalDoorbell:
            return InterruptClass::Critical;
        case Interrupt::MachineCheck:
            return InterruptClass::MachineCheck;
        case Interrupt::Debug:
            return InterruptClass::Debug;
        default:
            return InterruptClass::Base;
    }
}

// Exception syndrome register bits (ESR, SPR 62).
namespace esr {
constexpr uint32_t kPIL = 0x08000000, kPPR = 0x04000000, kPTR = 0x02000000, kFP = 0x01000000,
                   kST = 0x00800000, kDLK = 0x00200000, kILK = 0x00100000, kBO = 0x00020000,
                   kPIE = 0x00010000, kEPID = 0x00000010;
}  // namespace esr

// Machine check syndrome register bits (MCSR, SPR 572).
namespace mcsr {
constexpr uint32_t kMCP = 0x80000000, kMAV = 0x00080000, kMEA = 0x00040000, kIF = 0x00010000,
                   kLD = 0x00008000, kST = 0x00004000;
}  // namespace mcsr

// A synchronous exception an instruction met, not yet delivered. The instruction has changed
// nothing that re-executing it would not change again in the same way.
struct Fault {
    Interrupt kind = Interrupt::Program;
    uint32_t esr = 0;   // of a machine check: the MCSR bits
    uint64_t dear = 0;  // of a machine check: MCAR, the address
    bool sets_dear = false;
    bool sets_esr = true;
};

}  // namespace perfvisor::core
