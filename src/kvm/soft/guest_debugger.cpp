// SPDX-License-Identifier: GPL-2.0-or-later
// KVM_SET_GUEST_DEBUG: single step, breakpoints and watchpoints from outside the guest.
#include "kvm/soft/guest_debugger.h"

#include <cerrno>
#include <string_view>
#include <utility>

#include "isa/instruction.h"

namespace perfvisor::kvm {

namespace {

constexpr uint32_t kBreakpointInstruction = 0x00dddd00;
constexpr unsigned kCacheLine = 64;

struct DataAccess {
    uint64_t address;
    uint64_t size;  // bytes
};

// Bytes that a load or store of this name moves: "lwzx" 4, "stb" 1, "lfd" 8, "lmw" as many words
// as there are registers.
uint64_t access_size(const isa::Instruction& instruction, uint32_t word,
                     const core::CpuState& state) {
    const std::string_view name = instruction.mnemonic;
    if (name == "lmw" || name == "stmw") return 4 * (32 - isa::rd(word));
    if (name == "lswi" || name == "stswi") return isa::rb(word) == 0 ? 32 : isa::rb(word);
    if (name == "lswx" || name == "stswx") return state.xer_count;
    if (name.starts_with("dcb")) return kCacheLine;
    size_t letter = name.starts_with("st") ? 2 : 1;
    const bool floating = name.size() > letter && name[letter] == 'f';
    if (floating) ++letter;
    switch (name.size() > letter ? name[letter] : ' ') {
        case 'b':
            return 1;
        case 'h':
            return 2;
        case 'd':
            return 8;
        default:  // w; stfiwx and lfs too
            return 4;
    }
}

DataAccess data_access(const isa::Instruction& instruction, uint32_t word,
                       const core::CpuState& state) {
    const unsigned major = word >> 26;
    const std::string_view name = instruction.mnemonic;
    uint64_t address = isa::ra(word) == 0 ? 0 : state.gpr[isa::ra(word)];
    if (major != 31)
        address += static_cast<uint64_t>(static_cast<int64_t>(isa::si(word)));
    else if (name != "lswi" && name != "stswi")
        address += state.gpr[isa::rb(word)];
    address &= 0xffffffff;
    const uint64_t size = access_size(instruction, word, state);
    if (name.starts_with("dcb")) address &= ~uint64_t{kCacheLine - 1};
    return {address, size};
}

}  // namespace

std::optional<uint32_t> instruction_at_pc(core::Core& core) {
    const core::CpuState& state = core.state;
    const unsigned as = (state.msr & core::msr::kIS) != 0 ? 1 : 0;
    const bool user = (state.msr & core::msr::kPR) != 0;
    const auto found =
        core.mmu().translate(state.pc, core::Access::Fetch, as, core.mmu().registers().pid, user);
    if (!found.translation) return std::nullopt;
    const uint8_t* bytes = core.memory().host(found.translation->physical);
    if (bytes == nullptr) return std::nullopt;
    return core::from_big_endian(core::read_guest<uint32_t>(bytes));
}

int GuestDebugger::configure(const kvm_guest_debug& debug) {
    constexpr uint32_t kKnown =
        KVMPPC_DEBUG_BREAKPOINT | KVMPPC_DEBUG_WATCH_READ | KVMPPC_DEBUG_WATCH_WRITE;
    std::vector<uint64_t> breakpoints;
    std::vector<Watchpoint> watchpoints;
    if ((debug.control & KVM_GUESTDBG_ENABLE) && (debug.control & KVM_GUESTDBG_USE_HW_BP)) {
        for (const auto& wanted : debug.arch.bp) {
            if (wanted.type == KVMPPC_DEBUG_NONE) continue;
            if ((wanted.type & ~kKnown) != 0) return -EINVAL;
            if (wanted.type & KVMPPC_DEBUG_BREAKPOINT)
                breakpoints.push_back(wanted.addr);
            else
                watchpoints.push_back({wanted.addr, wanted.type});
        }
    }
    control_ = (debug.control & KVM_GUESTDBG_ENABLE) ? debug.control : 0;
    breakpoints_ = std::move(breakpoints);
    watchpoints_ = std::move(watchpoints);
    changed_ = true;
    return 0;
}

// Not when they are configured: gdb takes all away at each stop and gives them back when it goes
// on, which so forgets no code.
void GuestDebugger::set_breakpoints(core::Core& core) {
    if (!std::exchange(changed_, false)) return;
    std::optional<uint32_t> word;
    if ((control_ & KVM_GUESTDBG_USE_SW_BP) != 0) word = kBreakpointInstruction;
    core.set_breakpoints(core::Breakpoints(breakpoints_, word));
}

std::optional<GuestDebugger::Event> GuestDebugger::before_instruction(core::Core& core) const {
    for (const uint64_t address : breakpoints_)
        if (address == core.state.pc) return Event{core.state.pc, KVMPPC_DEBUG_BREAKPOINT};
    const bool software = (control_ & KVM_GUESTDBG_USE_SW_BP) != 0;
    if (!software && watchpoints_.empty()) return std::nullopt;
    const auto word = instruction_at_pc(core);
    if (!word) return std::nullopt;
    if (software && *word == kBreakpointInstruction) return Event{core.state.pc, KVMPPC_DEBUG_NONE};
    return watchpoint(core, *word);
}

std::optional<GuestDebugger::Event> GuestDebugger::watchpoint(const core::Core& core,
                                                              uint32_t word) const {
    if (watchpoints_.empty()) return std::nullopt;
    const isa::Instruction& instruction = isa::describe(isa::decode(word));
    const uint32_t kind = ((instruction.flags & isa::kLoad) ? KVMPPC_DEBUG_WATCH_READ : 0) |
                          ((instruction.flags & isa::kStore) ? KVMPPC_DEBUG_WATCH_WRITE : 0);
    if (kind == 0) return std::nullopt;
    const DataAccess access = data_access(instruction, word, core.state);
    for (const Watchpoint& watch : watchpoints_)
        if ((watch.type & kind) != 0 && watch.address - access.address < access.size)
            return Event{watch.address, watch.type & kind};
    return std::nullopt;
}

}  // namespace perfvisor::kvm
