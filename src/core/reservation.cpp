// SPDX-License-Identifier: GPL-2.0-or-later
// lwarx and stwcx. and their relatives.
#include <sched.h>

#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "core/host_access.h"

namespace perfvisor::core {
namespace {

constexpr uint32_t kLittleEndian = 0x01;  // MAS2[E]

// The host's integer of `size` bytes as they stand in memory, and the other way round.
uint64_t in_memory(const uint8_t* bytes, unsigned size) {
    uint64_t value = 0;
    for (unsigned n = 0; n < size; ++n)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        value |= uint64_t{bytes[n]} << 8 * n;
#else
        value = value << 8 | bytes[n];
#endif
    return value;
}

// The guest's value of the host's integer, and the other way round.
uint64_t swapped(uint64_t value, unsigned size, bool little_endian) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const bool same = little_endian;
#else
    const bool same = !little_endian;
#endif
    return same ? value : __builtin_bswap64(value) >> (64 - 8 * size);
}

template <typename T>
bool exchange_as(uint8_t* guest, uint64_t expected, uint64_t desired) {
    T old = static_cast<T>(expected);
    return __atomic_compare_exchange_n(reinterpret_cast<T*>(guest), &old, static_cast<T>(desired),
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

bool exchange_value(uint8_t* guest, unsigned size, uint64_t expected, uint64_t desired) {
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

// ---- the table ----

void ReservationTable::back_off(uint32_t& pauses) {
    for (uint32_t n = 0; n < pauses; ++n)
        pause_host();
    pauses = std::min(2 * pauses, kMostPauses);
}

bool ReservationTable::watch(const uint8_t* host, uint32_t& version, uint32_t& pauses) {
    const std::atomic<uint32_t>& current = entry_of(host).version;
    constexpr unsigned kTries = 12;
    constexpr unsigned kTriesBeforeYield = 4;  // then the host may have put the other to sleep
    for (unsigned n = 0; n < kTries; ++n) {
        version = current.load(std::memory_order_acquire);
        if ((version & 1) == 0) return true;
        back_off(pauses);
        if (n >= kTriesBeforeYield) sched_yield();
    }
    return false;
}

bool ReservationTable::exchange(uint8_t* host, unsigned size, uint32_t version, uint64_t expected,
                                uint64_t desired) {
    std::atomic<uint32_t>& current = entry_of(host).version;
    uint32_t found = version;
    if (!current.compare_exchange_strong(found, version + 1)) return false;
    const bool stored = exchange_value(host, size, expected, desired);
    current.store(version + step_, std::memory_order_release);
    return stored;
}

// ---- the instructions ----

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
    const bool watched =
        config_.memory->reservations().watch(host, state.reserve_version, state.reserve_pauses);
    uint8_t bytes[8];
    copy_from_guest(bytes, host, size);
    const uint64_t loaded = in_memory(bytes, size);
    value = swapped(loaded, size, piece.translation.attributes & kLittleEndian);
    state.reserve_address = reinterpret_cast<uintptr_t>(host);
    state.reserve_value = loaded;
    state.reserve_size = watched ? size : 0;
    return true;
}

bool Core::store_conditional(uint64_t ea, unsigned size, uint64_t value, bool& stored) {
    Piece piece;
    uint8_t* host;
    if (!reservation_target(ea, size, Access::Store, piece, host)) return false;
    const uint64_t physical = piece.translation.physical;
    stored = false;
    if (state.reserve_size == size && state.reserve_address == reinterpret_cast<uintptr_t>(host)) {
        const uint64_t mask = ~uint64_t{0} >> (64 - 8 * size);
        const bool little_endian = piece.translation.attributes & kLittleEndian;
        if (store_listener_) [[unlikely]]
            store_listener_->storing(ea, physical, host);
        stored = config_.memory->reservations().exchange(
            host, size, state.reserve_version, state.reserve_value,
            swapped(value & mask, size, little_endian));
        if (stored)
            state.reserve_pauses = ReservationTable::kFewestPauses;
        else
            ReservationTable::back_off(state.reserve_pauses);
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
