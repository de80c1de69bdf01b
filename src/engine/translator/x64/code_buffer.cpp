// SPDX-License-Identifier: GPL-2.0-or-later
// Memory for generated code that is never writable and executable at the same address.
#include "engine/translator/x64/code_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace perfvisor::engine::translator::x64 {
namespace {

uint8_t* map(size_t bytes, int protection, int fd) {
    void* at = mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? nullptr : static_cast<uint8_t*>(at);
}

}  // namespace

Result<CodeBuffer> CodeBuffer::create(size_t data_bytes, size_t code_bytes) {
    const size_t bytes = data_bytes + code_bytes;
    const UniqueFd fd(memfd_create("perfvisor-code", MFD_CLOEXEC));
    if (!fd || ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
        return fail("no memory for translated code: {}", std::strerror(errno));
    uint8_t* write = map(bytes, PROT_READ | PROT_WRITE, fd.get());
    uint8_t* execute = map(bytes, PROT_READ | PROT_WRITE, fd.get());
    CodeBuffer buffer(write, execute, bytes, data_bytes);
    if (!write || !execute ||
        mprotect(execute + data_bytes, code_bytes, PROT_READ | PROT_EXEC) != 0)
        return fail("the host allows no executable memory: {}", std::strerror(errno));
    return buffer;
}

CodeBuffer::CodeBuffer(CodeBuffer&& other) noexcept
    : write_(std::exchange(other.write_, nullptr)),
      execute_(std::exchange(other.execute_, nullptr)),
      bytes_(other.bytes_),
      data_bytes_(other.data_bytes_) {}

CodeBuffer::~CodeBuffer() {
    if (write_) munmap(write_, bytes_);
    if (execute_) munmap(execute_, bytes_);
}

}  // namespace perfvisor::engine::translator::x64
