// SPDX-License-Identifier: GPL-2.0-or-later
// Copies between guest memory and the host: a naturally aligned access of 1, 2, 4 or 8 bytes is
// one host access, as the architecture promises to the other cores (Power ISA Book II, 1.4).
#pragma once

#include <cstdint>
#include <cstring>

namespace perfvisor::core {

// In a loop that waits for another thread.
inline void pause_host() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__powerpc__)
    asm volatile("or 27,27,27" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
}

// Of no single access: any order, byte by byte or not. The thread sanitizer has to be told that
// guests may race, here and below.
inline void copy_bytes_from_guest(uint8_t* to, const uint8_t* guest, unsigned size) {
#if defined(__SANITIZE_THREAD__)
    for (unsigned n = 0; n < size; ++n)
        to[n] = __atomic_load_n(guest + n, __ATOMIC_RELAXED);
#else
    std::memcpy(to, guest, size);
#endif
}

inline void copy_bytes_to_guest(uint8_t* guest, const uint8_t* from, unsigned size) {
#if defined(__SANITIZE_THREAD__)
    for (unsigned n = 0; n < size; ++n)
        __atomic_store_n(guest + n, from[n], __ATOMIC_RELAXED);
#else
    std::memcpy(guest, from, size);
#endif
}

// Of the fast paths, for any alignment: what the compiler makes of memcpy is one host access.
template <typename T>
inline T read_guest(const void* guest) {
#if defined(__SANITIZE_THREAD__)
    if (reinterpret_cast<uintptr_t>(guest) % sizeof(T) == 0)
        return __atomic_load_n(static_cast<const T*>(guest), __ATOMIC_RELAXED);
#endif
    T value;
    copy_bytes_from_guest(reinterpret_cast<uint8_t*>(&value), static_cast<const uint8_t*>(guest),
                          sizeof value);
    return value;
}

template <typename T>
inline void write_guest(void* guest, T value) {
#if defined(__SANITIZE_THREAD__)
    if (reinterpret_cast<uintptr_t>(guest) % sizeof(T) == 0) {
        __atomic_store_n(static_cast<T*>(guest), value, __ATOMIC_RELAXED);
        return;
    }
#endif
    copy_bytes_to_guest(static_cast<uint8_t*>(guest), reinterpret_cast<const uint8_t*>(&value),
                        sizeof value);
}

template <typename T>
inline void copy_from_guest_as(void* to, const uint8_t* guest) {
    const T value = __atomic_load_n(reinterpret_cast<const T*>(guest), __ATOMIC_RELAXED);
    std::memcpy(to, &value, sizeof value);
}

template <typename T>
inline void copy_to_guest_as(uint8_t* guest, const void* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    __atomic_store_n(reinterpret_cast<T*>(guest), value, __ATOMIC_RELAXED);
}

// A cache line or so, aligned to 8 bytes.
inline void clear_guest(uint8_t* guest, unsigned size) {
#if defined(__SANITIZE_THREAD__)
    for (unsigned n = 0; n < size; n += 8)
        write_guest(guest + n, uint64_t{0});
#else
    std::memset(guest, 0, size);
#endif
}

inline bool is_single_access(const uint8_t* guest, unsigned size) {
    const bool whole = size == 1 || size == 2 || size == 4 || (size == 8 && sizeof(void*) == 8);
    return whole && (reinterpret_cast<uintptr_t>(guest) & (size - 1)) == 0;
}

inline void copy_from_guest(uint8_t* to, const uint8_t* guest, unsigned size) {
    if (!is_single_access(guest, size)) {
        copy_bytes_from_guest(to, guest, size);
        return;
    }
    switch (size) {
        case 1:
            return copy_from_guest_as<uint8_t>(to, guest);
        case 2:
            return copy_from_guest_as<uint16_t>(to, guest);
        case 4:
            return copy_from_guest_as<uint32_t>(to, guest);
        default:
            return copy_from_guest_as<uint64_t>(to, guest);
    }
}

inline void copy_to_guest(uint8_t* guest, const uint8_t* from, unsigned size) {
    if (!is_single_access(guest, size)) {
        copy_bytes_to_guest(guest, from, size);
        return;
    }
    switch (size) {
        case 1:
            return copy_to_guest_as<uint8_t>(guest, from);
        case 2:
            return copy_to_guest_as<uint16_t>(guest, from);
        case 4:
            return copy_to_guest_as<uint32_t>(guest, from);
        default:
            return copy_to_guest_as<uint64_t>(guest, from);
    }
}

}  // namespace perfvisor::core
