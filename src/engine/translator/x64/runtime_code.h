// SPDX-License-Identifier: GPL-2.0-or-later
// The code that all blocks share: into translated code, out of it, and from it to C++ functions.
#pragma once

#include <cstdint>

#include "core/core.h"
#include "engine/translator/x64/xbyak.h"

namespace perfvisor::engine::interpreter {
struct Op;
}
namespace perfvisor::core::timing {
struct SegmentEnd;
}
namespace perfvisor::engine::translator {
struct ToldOp;
struct AskedAccess;
struct AskedBranch;
}  // namespace perfvisor::engine::translator

namespace perfvisor::engine::translator::x64 {

class CodeBuffer;

// Why translated code came back: the low bits of what enter() returns; the bits above are the edge
// of Exit::Link or the place of the ExitSite of Exit::Site, bytes from the first byte of all code.
enum class Exit : uint32_t {
    Lookup,  // no code is known for pc
    Link,    // the same, and an edge of a block could lead there directly
    Budget,  // fewer instructions are left than the block at pc has
    Fault,   // the instruction at pc met an exception or waits for a device
    Return,  // something must be looked at before the instruction at pc
    Hot,     // the block at pc has run often
    Site,    // as an ExitSite says
    Count,
};
constexpr unsigned kExitBits = 3;

// What a C++ function says that translated code called.
enum Status : uint64_t {
    kDone = 0,
    kStopped = 1,  // a fault or a device access: the instruction did not happen
    kChanged = 2,  // it happened, but translated code was dropped, or the engine must look
};

struct LoadResult {
    uint64_t value;
    uint64_t status;
};

// What the code calls, with the engine as first argument.
struct Callbacks {
    void* engine;
    LoadResult (*load[4])(void* engine, uint64_t ea);  // by log2 of the size in bytes
    uint64_t (*store[4])(void* engine, uint64_t ea, uint64_t value);
    LoadResult (*load_reserve)(void* engine, uint64_t ea);
    // Sets CR0 in CpuState.
    uint64_t (*store_conditional)(void* engine, uint64_t ea, uint64_t value);
    uint64_t (*execute)(void* engine, const interpreter::Op* op);
    uint64_t (*execute_zero)(void* engine, const interpreter::Op* op);
    uint64_t (*enable_interrupts)(void* engine);
    uint64_t (*execute_last)(void* engine, const interpreter::Op* op);
    // The same where the timing model is told of it.
    uint64_t (*execute_told)(void* engine, const ToldOp* op);
    uint64_t (*execute_last_told)(void* engine, const ToldOp* op);
    // ModelKind::Clock: what an instruction is about to access, or where it branches; a segment's
    // end.
    uint64_t (*ask_access)(void* engine, const AskedAccess* op, uint64_t ea);
    uint64_t (*ask_branch)(void* engine, const AskedBranch* op, uint64_t target);
    uint64_t (*end_segment)(void* engine, const core::timing::SegmentEnd* end);
};

// Addresses in the view to write, as emitted code refers to them.
struct RuntimeCode {
    // uint64_t enter(const uint8_t* code), in the view to execute.
    uint64_t (*enter)(const uint8_t* code);
    const uint8_t* condition_word;  // gives the CR in eax; clobbers rcx, rdx
    const uint8_t* dispatch;        // jumps to the code for eax, a pc, or leaves
    // The same for an edge; to have it linked: called, with the pc and the exit behind the call.
    const uint8_t* dispatch_edge;
    const uint8_t* link_edge[2];
    // By whether the block that uses it has floating-point registers in host registers.
    struct Calls {
        const uint8_t* leave_site;  // called before an ExitSite; edx: a status
        const uint8_t* load[4];     // eax: address; gives rax and edx, the status
        const uint8_t* store[4];    // eax: address, rdx: value; gives edx, the status
        // The same by C++ at once, which brings the page into the window.
        const uint8_t* load_page[4];
        const uint8_t* store_page[4];
        // As load[2] and store[2], for lwarx and stwcx.
        const uint8_t* load_reserve;
        const uint8_t* store_conditional;
        const uint8_t* execute;            // rax: const Op*; gives edx, the status
        const uint8_t* execute_zero;       // the same for dcbz
        const uint8_t* enable_interrupts;  // sets MSR[EE]; gives edx, the status
        const uint8_t* execute_last;       // rax: const Op*. Jumped to; the end of a block
        const uint8_t* execute_told;       // rax: const ToldOp*, and so on
        const uint8_t* execute_last_told;
        // They keep all but rcx and rdx. rdx: const AskedAccess*; eax: the address; gives edx, the
        // status.
        const uint8_t* ask_access;
        // rdx: const AskedBranch*, of one that is not taken, taken, and taken to eax.
        const uint8_t* ask_branch[3];
        const uint8_t* end_segment;  // rdx: const SegmentEnd*
    } calls[2];
    const uint8_t* end;  // first byte behind
};

// Jumps to the code for eax, a pc, or leaves; clobbers rcx and rdx. Emitted where the host is to
// predict the branch by itself.
void emit_look_up(Xbyak::CodeGenerator& to, const CodeBuffer& buffer);

// Emits it at the start of the buffer's code.
RuntimeCode emit_runtime(CodeBuffer& buffer, core::Core& core, const Callbacks& callbacks);

}  // namespace perfvisor::engine::translator::x64
