// SPDX-License-Identifier: GPL-2.0-or-later
// Memory for generated code that is never writable and executable at the same address.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"

namespace perfvisor::engine::translator::x64 {

// One piece of memory, mapped twice: a view to write and a view to execute. It begins with
// `data_bytes` of data, which both views may write and neither executes; the rest is code. Data
// and code have the same distance in both views, so that code may address data relative to itself.
class CodeBuffer {
  public:
    // Both sizes in bytes, multiples of 4 KiB. Fails where the host refuses executable memory.
    static Result<CodeBuffer> create(size_t data_bytes, size_t code_bytes);
    CodeBuffer(CodeBuffer&& other) noexcept;
    CodeBuffer& operator=(CodeBuffer&&) = delete;
    ~CodeBuffer();

    // The data, as code addresses it.
    uint8_t* data() const { return execute_; }
    // The code in the view to write, and its size in bytes.
    uint8_t* code() const { return write_ + data_bytes_; }
    size_t code_bytes() const { return bytes_ - data_bytes_; }
    // From one view to the other.
    const uint8_t* executable(const uint8_t* written) const {
        return execute_ + (written - write_);
    }
    // A datum as an instruction in the view to write must name it relative to itself.
    const uint8_t* beside_code(const void* datum) const {
        return write_ + (static_cast<const uint8_t*>(datum) - execute_);
    }

  private:
    CodeBuffer(uint8_t* write, uint8_t* execute, size_t bytes, size_t data_bytes)
        : write_(write), execute_(execute), bytes_(bytes), data_bytes_(data_bytes) {}

    uint8_t* write_;
    uint8_t* execute_;
    size_t bytes_;
    size_t data_bytes_;
};

}  // namespace perfvisor::engine::translator::x64
