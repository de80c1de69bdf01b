// SPDX-License-Identifier: GPL-2.0-or-later
// Address space for tables of which a few pages are touched, far from each other.
#pragma once

#include <sys/mman.h>

#include <cstddef>

namespace perfvisor::engine::translator {

// Zeros, `protection` as mmap has it; null, with errno, where the host has no room for it.
inline void* reserve_sparse(size_t bytes, int protection) {
    void* at = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    madvise(at, bytes, MADV_NOHUGEPAGE);
    madvise(at, bytes, MADV_DONTDUMP);
    return at;
}

}  // namespace perfvisor::engine::translator
