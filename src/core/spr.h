// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers of the special purpose registers, and the bits of those the core itself looks at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace perfvisor::core {

namespace spr {
enum Number : uint16_t {
    kXER = 1,
    kLR = 8,
    kCTR = 9,
    kDEC = 22,
    kSRR0 = 26,
    kSRR1 = 27,
    kPID = 48,
    kDECAR = 54,
    kCSRR0 = 58,
    kCSRR1 = 59,
    kDEAR = 61,
    kESR = 62,
    kIVPR = 63,
    kUSPRG0 = 256,
    kSPRG3User = 259,
    kSPRG4User = 260,
    kSPRG5User = 261,
    kSPRG6User = 262,
    kSPRG7User = 263,
    kTBLRead = 268,
    kTBURead = 269,
    kSPRG0 = 272,
    kSPRG3 = 275,
    kSPRG4 = 276,
    kSPRG5 = 277,
    kSPRG6 = 278,
    kSPRG7 = 279,
    kTBLWrite = 284,
    kTBUWrite = 285,
    kPIR = 286,
    kPVR = 287,
    kDBSR = 304,
    kDBSRWR = 306,
    kDBCR0 = 308,
    kDBCR1 = 309,
    kDBCR2 = 310,
    kIAC1 = 312,
    kIAC2 = 313,
    kDAC1 = 316,
    kDAC2 = 317,
    kTSR = 336,
    kMAS5 = 339,
    kTCR = 340,
    kMAS8 = 341,
    kIVOR0 = 400,
    kL1CFG0 = 515,
    kL1CFG1 = 516,
    kNPIDR = 517,
    kL2CFG0 = 519,
    kATBL = 526,
    kATBU = 527,
    kIVOR32 = 528,
    kIVOR35 = 531,
    kDBCR4 = 563,
    kMCARU = 569,
    kMCSRR0 = 570,
    kMCSRR1 = 571,
    kMCSR = 572,
    kMCAR = 573,
    kDSRR0 = 574,
    kDSRR1 = 575,
    kDDAM = 576,
    kSPRG8 = 604,
    kSPRG9 = 605,
    kL1CSR2 = 606,
    kMAS0 = 624,
    kMAS1 = 625,
    kMAS2 = 626,
    kMAS3 = 627,
    kMAS4 = 628,
    kMAS6 = 630,
    kEDBRAC0 = 638,
    kTLB0CFG = 688,
    kTLB1CFG = 689,
    kCDCSR0 = 696,
    kEPR = 702,
    kL2ERRINTEN = 720,
    kL2ERRATTR = 721,
    kL2ERRADDR = 722,
    kL2ERREADDR = 723,
    kL2ERRCTL = 724,
    kL2ERRDIS = 725,
    kMAS7 = 944,
    kEPLC = 947,
    kEPSC = 948,
    kDEVENT = 975,
    kNSPD = 983,
    kNSPC = 984,
    kL2ERRINJHI = 985,
    kL2ERRINJLO = 986,
    kL2ERRINJCTL = 987,
    kL2CAPTDATAHI = 988,
    kL2CAPTDATALO = 989,
    kL2CAPTECC = 990,
    kL2ERRDET = 991,
    kHID0 = 1008,
    kHID1 = 1009,
    kL1CSR0 = 1010,
    kL1CSR1 = 1011,
    kMMUCSR0 = 1012,
    kBUCSR = 1013,
    kMMUCFG = 1015,
    kL2CSR0 = 1017,
    kL2CSR1 = 1018,
    kSVR = 1023,
};
}  // namespace spr

// HID0: the power-saving modes that MSR[WE] enters.
constexpr uint32_t kHid0PowerModes = 0x00e00000;  // DOZE, NAP, SLEEP

// A register that moves as memory does: reading it has no effect, writing it no other than that.
struct PlainSpr {
    std::ptrdiff_t offset;  // of its 32 bits from Core::state, bytes
    bool writable;
    uint32_t mask;  // bits that are written; the others become 0
};
class Core;
// Nothing for a register that is not so, for a 64-bit core's, or where there is none.
std::optional<PlainSpr> plain_spr(const Core& core, unsigned number);

// The name of a register, "?" where there is none of that number.
const char* spr_name(unsigned number);

// External PID contexts EPLC and EPSC (EREF, external PID).
namespace epc {
constexpr uint32_t kEPR = 0x80000000, kEAS = 0x40000000, kEPID = 0x00003fff;
}  // namespace epc

// Debug control and status registers. DBSR has the event bits of DBCR0.
namespace dbcr0 {
constexpr uint32_t kEDM = 0x80000000, kIDM = 0x40000000, kRST = 0x30000000, kICMP = 0x08000000,
                   kBRT = 0x04000000, kIRPT = 0x02000000, kTRAP = 0x01000000, kIAC1 = 0x00800000,
                   kIAC2 = 0x00400000, kDAC1R = 0x00080000, kDAC1W = 0x00040000,
                   kDAC2R = 0x00020000, kDAC2W = 0x00010000, kRET = 0x00008000, kCIRPT = 0x00000040,
                   kCRET = 0x00000020;
}  // namespace dbcr0
namespace dbsr {
constexpr uint32_t kIDE = 0x80000000, kMRR = 0x30000000;
}  // namespace dbsr

}  // namespace perfvisor::core
