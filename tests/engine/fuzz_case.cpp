// SPDX-License-Identifier: GPL-2.0-or-later
// The world of a fuzzer's case: memory, TLBs, handlers, and what happens from outside.
#include "fuzz_case.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "core/fpu/fpscr.h"

namespace perfvisor::test {

using core::Interrupt;
using core::Total;
using engine::Stop;

namespace {

constexpr std::array<const char*, kFuzzKinds> kNames = {
    "anything", "user",  "memory",   "self-changing", "paging", "modes",
    "float",    "debug", "measured", "modelled",      "timed"};

// CE, EE, ME, DE, FP
constexpr uint32_t kPlainMsr = core::msr::kME | core::msr::kFP;

}  // namespace

const char* fuzz_kind_name(FuzzKind kind) {
    return kNames[static_cast<unsigned>(kind)];
}

std::optional<FuzzKind> find_fuzz_kind(const std::string& name) {
    for (unsigned n = 0; n < kFuzzKinds; ++n)
        if (name == kNames[n]) return static_cast<FuzzKind>(n);
    return std::nullopt;
}

Fuzzer::Result Fuzzer::run(FuzzKind kind, uint32_t seed, uint64_t units) {
    kind_ = kind;
    random_.seed(seed * kFuzzKinds + static_cast<unsigned>(kind));
    prepare();
    Result result;
    result.failure = execute(units);
    result.instructions = guest_.total(Total::Instructions);
    result.interrupts = guest_.total(Total::Interrupts);
    return result;
}

// ---- before the first instruction ----

void Fuzzer::prepare() {
    std::memset(guest_.bytes(0), 0, kMemory);
    guest_.state().totals = {};
    guest_.state().modelled = {};
    guest_.core().timing().set_drives_clock(kind_ == FuzzKind::Timed ||
                                            (kind_ == FuzzKind::Modelled && one_in(3)));
    guest_.core().perfmon().set_available(false);
    const bool counts = kind_ == FuzzKind::Measured || kind_ == FuzzKind::Modelled ||
                        (kind_ == FuzzKind::Timed && one_in(2));
    guest_.core().perfmon().set_available(counts || !one_in(4));
    for (const auto line : {core::Line::External, core::Line::Critical, core::Line::MachineCheck})
        guest_.core().set_line(line, false);
    guest_.reset();
    make_program();
    prepare_handlers();
    guest_.load(Guest::kCode, words_);
    for (uint32_t at = Guest::kData; at < kMemory; at += 4)
        guest_.write32(at, random());
    prepare_tlbs();
    prepare_registers();
    if (counts || one_in(6)) prepare_counters();
    if (kind_ == FuzzKind::Debug || one_in(12)) prepare_debug();
    uint32_t msr = kind_ == FuzzKind::Modes ? plausible_msr() : kPlainMsr;
    if (kind_ == FuzzKind::User || (kind_ == FuzzKind::Paging && one_in(2))) msr |= core::msr::kPR;
    if (counts) msr |= core::msr::kEE | (random() & core::msr::kPR);
    if (kind_ == FuzzKind::Debug || one_in(8)) msr |= core::msr::kDE;
    msr |= random() & (core::msr::kEE | core::msr::kCE);
    guest_.core().set_msr(msr);
    guest_.state().pc = Guest::kCode + 4 * below(64);
}

void Fuzzer::prepare_registers() {
    core::CpuState& state = guest_.state();
    for (uint64_t& r : state.gpr)
        r = value();
    for (uint64_t& r : state.fpr)
        r = real();
    state.cr.set_word(random());
    state.lr = code_address();
    state.ctr = one_in(2) ? below(20) : code_address();
    state.xer_ca = random() & 1;
    state.xer_so = one_in(8);
    state.xer_count = random() & 0x7f;
    state.fpscr = core::fpu::summarize(one_in(2) ? 0 : random() & 0x020000ff);
    if (kind_ == FuzzKind::Float && one_in(2)) state.fpscr = core::fpu::summarize(random() & 3);
}

// A handler returns behind the instruction, or to it where it removed the cause; now and then it
// leads the program back to its code and to supervisor mode.
std::string Fuzzer::handler(Interrupt kind) {
    const bool asynchronous = kind == Interrupt::ExternalInput || kind == Interrupt::Decrementer ||
                              kind == Interrupt::FixedIntervalTimer ||
                              kind == Interrupt::Watchdog || kind == Interrupt::CriticalInput ||
                              kind == Interrupt::PerformanceMonitor ||
                              kind == Interrupt::Doorbell || kind == Interrupt::CriticalDoorbell;
    unsigned save = 26;
    const char* back = "rfi";
    switch (core::interrupt_class(kind)) {
        case core::InterruptClass::Critical:
            save = 58, back = "rfci";
            break;
        case core::InterruptClass::Debug:
            save = 574, back = "rfdi";
            break;
        case core::InterruptClass::MachineCheck:
            save = 570, back = "rfmci";
            break;
        default:
            break;
    }
    std::string text = "mtspr 272,r3\n mtspr 273,r4\n";
    switch (kind) {
        case Interrupt::Decrementer:
        case Interrupt::FixedIntervalTimer:
        case Interrupt::Watchdog:
            text += "lis r3,-1\n mtspr 336,r3\n";
            break;
        case Interrupt::PerformanceMonitor:
            text += fmt::format("li32 r3,{}\n mtpmr {},r3\n", 0x80000000 - 1 - below(150),
                                16 + below(4));
            if (one_in(2)) text += fmt::format("li r3,0\n mtpmr {},r3\n", 16 + below(4));
            if (one_in(3)) text += "li r3,0\n mtpmr 400,r3\n";
            break;
        case Interrupt::Debug:
            text += "lis r3,-1\n mtspr 304,r3\n";  // DBSR
            if (one_in(2)) text += "li r3,0\n mtspr 308,r3\n";
            break;
        case Interrupt::MachineCheck:
            text += "lis r3,-1\n mtspr 572,r3\n";
            break;
        default:
            break;
    }
    const bool miss = kind == Interrupt::DataTlbError || kind == Interrupt::InstructionTlbError;
    if (miss && kind_ == FuzzKind::Paging && !one_in(8)) {
        // The page maps to itself, or to a neighbour that depends on the PID; sometimes for every
        // process, sometimes not writable.
        text += "mfspr r3,626\n rlwinm r3,r3,0,0,19\n";
        if (one_in(2)) text += "mfspr r4,48\n rlwinm r4,r4,12,18,19\n xor r3,r3,r4\n";
        text += fmt::format("ori r3,r3,{}\n mtspr 627,r3\n", one_in(3) ? 0x33 : 0x3f);
        if (one_in(4)) text += "mfspr r3,625\n rlwinm r3,r3,0,16,1\n mtspr 625,r3\n";
        text += "tlbwe\n";
    } else if (!asynchronous && kind != Interrupt::SystemCall && kind != Interrupt::Debug) {
        text += fmt::format("mfspr r3,{0}\n addi r3,r3,4\n mtspr {0},r3\n", save);
        if (one_in(3))
            text += fmt::format(
                "rlwinm r3,r3,0,18,29\n ori r3,r3,{1}\n mtspr {0},r3\n li32 r3,{2}\n mtspr "
                "{3},r3\n",
                save, static_cast<uint32_t>(Guest::kCode), plausible_msr() | core::msr::kME,
                save + 1);
    }
    return text + "mfspr r3,272\n mfspr r4,273\n " + back + "\n";
}

void Fuzzer::prepare_handlers() {
    for (unsigned n = 0; n < static_cast<unsigned>(Interrupt::Count); ++n) {
        const uint32_t at = Guest::kVectors + (n << 8);
        for (uint32_t address = at;
             const uint32_t word : assemble(handler(static_cast<Interrupt>(n)), at)) {
            guest_.write32(address, word);
            address += 4;
        }
    }
}

// The harness maps all memory with one entry of address space 0. Space 1 gets another, so that
// MSR[IS] and [DS] do not always fault. Under paging the pages of code and data are TLB0's.
void Fuzzer::prepare_tlbs() {
    core::Mmu& mmu = guest_.core().mmu();
    core::TlbEntry other;
    other.valid = other.iprot = true;
    other.ts = 1;
    other.size = one_in(2) ? 1u << 20 : 256u << 20;
    other.permissions = Guest::kAllPermissions;
    mmu.set_entry(1, 1, other);
    if (one_in(8))
        guest_.map(2, 0x400000, 0, 1u << 20, Guest::kAllPermissions, 1);  // little-endian
    if (one_in(4))
        guest_.map(3, 0x500000, 0, 1u << 20, one_in(2) ? 0x15 : 0x33);  // another view of it all
    if (kind_ != FuzzKind::Paging) return;
    guest_.map(0, Guest::kVectors, Guest::kVectors, 0x4000, Guest::kAllPermissions);
    if (one_in(2)) guest_.map(4, Guest::kData, Guest::kData, 0x4000, Guest::kAllPermissions);
    mmu.write_pid(below(4));
    mmu.registers().mas4 = 0x100 | (one_in(4) ? 0x10000000 : 0);
}

void Fuzzer::prepare_counters() {
    static constexpr std::array kEvents = {1, 2, 8, 9, 10, 13, 82, 83, 86, 89};
    // Of each part of the timing model: most that the model's next part counts, too.
    static constexpr std::array<std::array<int, 8>, 4> kModelled = {
        {{3, 4, 5, 3, 4, 5, 2, 1},
         {11, 14, 15, 16, 17, 3, 2, 13},
         {26, 34, 41, 42, 60, 61, 64, 111},
         {18, 19, 22, 24, 47, 48, 56, 76}}};
    core::PerfMon& perfmon = guest_.core().perfmon();
    const auto& part = kModelled[below(kModelled.size())];
    for (unsigned n = 0; n < 4; ++n) {
        const bool modelled = kind_ == FuzzKind::Modelled || one_in(20);
        const auto event = static_cast<uint32_t>(modelled ? part[below(part.size())]
                                                          : kEvents[below(kEvents.size())]);
        const uint32_t freezes = one_in(2) ? random() & 0x78000000 : 0;
        perfmon.write(144 + n, event << 16 | (one_in(4) ? 0 : 0x04000000) | freezes);
        const bool often = kind_ != FuzzKind::Modelled || one_in(2);
        perfmon.write(16 + n, 0x80000000 - below(often ? 200 : 100'000));
    }
    perfmon.write(400, 0x40000000 | (one_in(4) ? 0x20000000 : 0));
    core::Core& core = guest_.core();
    core.set_spr(core::spr::kDECAR, 30 + below(100));
    core.set_spr(core::spr::kDEC, 1 + below(200));
    // DIE, FIE, ARE, a fixed interval of 128 or 256 ticks
    core.set_spr(core::spr::kTCR, 0x04c00000 | (random() & 0x09000000) | 0x0001c000);
}

void Fuzzer::prepare_debug() {
    core::Core& core = guest_.core();
    core.set_spr(core::spr::kIAC1, code_address());
    core.set_spr(core::spr::kIAC2, code_address());
    core.set_spr(core::spr::kDAC1, data_address());
    core.set_spr(core::spr::kDAC2, data_address());
    core.set_spr(core::spr::kDBCR1, one_in(2) ? 0 : random());
    core.set_spr(core::spr::kDBCR2, one_in(2) ? 0 : random());
    core.set_spr(core::spr::kDBCR0, core::dbcr0::kIDM | (random() & random() & 0x0fcf8060));
}

// ---- execution ----

// Between two runs of the engine.
void Fuzzer::outside_event() {
    core::Core& core = guest_.core();
    switch (below(24)) {
        case 0:
            core.set_line(core::Line::External, !one_in(3));
            break;
        case 1:
            core.set_line(core::Line::Critical, one_in(2));
            break;
        case 2:
            core.post_doorbell(one_in(2));
            break;
        case 3:
            core.mmu().tlbivax(data_address() | (random() & 0xc));
            break;
        case 4: {  // as a device or another CPU would
            const uint32_t at = one_in(2) ? code_address() : data_address() & 0x7fffc;
            guest_.write32(at, random());
            core.invalidate_code(at, 4);
            break;
        }
        case 5:
            guest_.engine().flush();
            break;
        case 6:
            core.set_line(core::Line::MachineCheck, one_in(4));
            break;
        case 7:
            core.mmu().forget_all();
            break;
        case 8:
            guest_.state().gpr[below(32)] = value();
            break;
        default:
            core.set_line(core::Line::External, false);
            core.set_line(core::Line::MachineCheck, false);
    }
}

std::string Fuzzer::execute(uint64_t units) {
    core::Core& core = guest_.core();
    while (units > 0) {
        const unsigned most = one_in(3) ? 8 : one_in(2) ? 100 : 2000;
        const uint64_t limit = std::min<uint64_t>(units, 1 + below(most));
        const uint64_t allowed = core.instructions_to_deadline(limit, limit);
        const Stop stop = guest_.engine().run(allowed);
        if (stop == Stop::Failed) return guest_.engine().failure();
        units -= std::min(units, allowed - static_cast<uint64_t>(guest_.state().budget));
        if (stop == Stop::Mmio) {
            std::array<uint8_t, 8> answer;
            for (uint8_t& byte : answer)
                byte = static_cast<uint8_t>(random());
            core.complete_mmio(answer.data());
        } else if (one_in(4)) {
            outside_event();
        }
        core.deliver_pending_interrupt();
        guest_.state().attention.fetch_and(~uint32_t{core::kKick});
        if (core.checkstop()) break;
        core.set_halted(false);
    }
    return {};
}

}  // namespace perfvisor::test
