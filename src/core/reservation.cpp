// SPDX-License-Identifier: GPL-2.0-or-later
// lwarx and stwcx. and their relatives, by compare and swap on host memory: a store conditional
// succeeds if memory still holds the value that was loaded.
#include <cstring>

#include "core/core.h"
#include "core/host_access.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kLittleEndian = 0x01;  // MAS2[E]

// The value of `size` bytes in memory order, and the other way round.
uint64_t value_of(const uint8_t* bytes, unsigned size, bool little_endian) {
    uint64_t value = 0;
    for (unsigned n = 0; n < size; ++n)
        value = value << 8 | bytes[little_endian ? size - 1 - n : n];
    return value;
}

void bytes_of(uint64_t value, uint8_t* bytes, unsigned size, bool little_endian) {
    for (unsigned n = 0; n < size; ++n, value >>= 8)
        bytes[little_endian ? n : size - 1 - n] = static_cast<uint8_t>(value);
}

template <typename T>
bool exchange_as(uint8_t* guest, const uint8_t* expected, const uint8_t* desired) {
    T old, wanted;
    std::memcpy(&old, expected, sizeof old);
    std::memcpy(&wanted, desired, sizeof wanted);
    return __atomic_compare_exchange_n(reinterpret_cast<T*>(guest), &old, wanted, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

bool exchange(uint8_t* guest, const uint8_t* expected, const uint8_t* desired, unsigned size) {
    switch (size) {
        case 1:
            return exchange_as<uint8_t>(guest, expected, desired);
        case 2:
            return exchange_as<uint16_t>(guest, expected, desired);
        case 4:
            return exchange_as<uint32_t>(guest, expected, desired);
        default:
            if constexpr (sizeof(void*) == 8)
                return exchange_as<uint64_t>(guest, expected, desired);
            return false;  // no model with 64-bit reservations runs on 32-bit hosts
    }
}

}  // namespace

// Memory that is not there, or not writable, cannot be reserved: a DSI, as for cache-inhibited
// locations (EREF, lwarx).
bool Core::reservation_target(uint64_t ea, unsigned size, Access access, Piece& piece,
                              uint8_t*& host) {
    const uint32_t store = access == Access::Store ? esr::kST : 0;
    ea &= value_mask_;
    if (ea & (size - 1)) {
        raise({.kind = Interrupt::Alignment, .esr = store, .dear = ea, .sets_dear = true});
        return false;
    }
    piece.ea = ea;
    piece.size = size;
    // Plain memory that a load or store has been to is found as they find it.
    const FastTlbEntry& fast = state.fast_tlb[fast_tlb_index(ea)];
    const uint64_t tag = (ea & kPageMask) | state.data_context;
    if ((access == Access::Store ? fast.write_tag : fast.read_tag) == tag) {
        piece.translation.physical = fast.page | (ea & ~kPageMask);
        piece.translation.attributes = 0;
        host = reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(fast.addend + ea));
        return true;
    }
    if (!translate(ea, access, context(access, false), piece.translation)) return false;
    if (data_breakpoints_) {
        if (const uint32_t events = data_address_events(ea, size, access)) {
            debug_event(events);
            raise({.kind = Interrupt::Debug, .sets_esr = false});
            return false;
        }
    }
    const MemorySlot* slot = config_.memory->find(piece.translation.physical);
    if (!slot || (access == Access::Store && slot->readonly)) {
        raise({.kind = Interrupt::DataStorage, .esr = store, .dear = ea, .sets_dear = true});
        return false;
    }
    const uint64_t offset = piece.translation.physical - slot->base;
    host = slot->host + offset;
    const bool has_code = slot->has_code[offset / kPageSize].load(std::memory_order_relaxed) != 0;
    mmu_.enter_fast(ea, piece.translation, host - (ea & ~kPageMask),
                    !slot->readonly && !has_code && !store_listener_);
    return true;
}

bool Core::load_reserve(uint64_t ea, unsigned size, uint64_t& value) {
    Piece piece;
    uint8_t* host;
    if (!reservation_target(ea, size, Access::Load, piece, host)) return false;
    uint8_t bytes[8];
    copy_from_guest(bytes, host, size);
    value = value_of(bytes, size, piece.translation.attributes & kLittleEndian);
    state.reserve_address = piece.translation.physical;
    state.reserve_value = value;
    state.reserve_size = size;
    return true;
}

bool Core::store_conditional(uint64_t ea, unsigned size, uint64_t value, bool& stored) {
    Piece piece;
    uint8_t* host;
    if (!reservation_target(ea, size, Access::Store, piece, host)) return false;
    const uint64_t physical = piece.translation.physical;
    stored = false;
    if (state.reserve_size == size && state.reserve_address == physical) {
        const bool little_endian = piece.translation.attributes & kLittleEndian;
        uint8_t expected[8], desired[8];
        bytes_of(state.reserve_value, expected, size, little_endian);
        bytes_of(value, desired, size, little_endian);
        if (store_listener_) [[unlikely]]
            store_listener_->storing(ea, physical, host);
        stored = exchange(host, expected, desired, size);
    }
    state.reserve_size = 0;
    ++state.totals[stored ? Total::StwcxSuccess : Total::StwcxFailure];
    if (stored) {
        const MemorySlot* slot = config_.memory->find(physical);
        if (slot->has_code[(physical - slot->base) / kPageSize].load(std::memory_order_relaxed))
            code_stored(*slot, physical, size);
    }
    return true;
}

}  // namespace perfvisor::core
