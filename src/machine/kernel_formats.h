// SPDX-License-Identifier: GPL-2.0-or-later
// One loader per kernel image format, each given a file that begins like that format.
#pragma once

#include "base/result.h"
#include "machine/guest_memory.h"
#include "machine/input_file.h"
#include "machine/loaders.h"

namespace perfvisor::machine {

// ELF: loads the PT_LOAD segments at their physical addresses.
Result<LoadedKernel> load_elf(const InputFile& file, GuestMemory memory);

// U-Boot's legacy image: header, checksums, none or gzip compression.
Result<LoadedKernel> load_uimage(const InputFile& file, GuestMemory memory);

// "kernel X does not fit …": the sentence for bytes that lie outside RAM.
inline tl::unexpected<Error> does_not_fit(const InputFile& file, uint64_t base, uint64_t size,
                                          GuestMemory memory) {
    return fail(
        "{} does not fit into the guest's memory of {} MiB: it needs {} bytes at address "
        "{:#x}; give the guest more with -m",
        file.label(), memory.size() / kMiB, size, base);
}

}  // namespace perfvisor::machine
