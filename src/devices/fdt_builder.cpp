// SPDX-License-Identifier: GPL-2.0-or-later
// Writes a flattened device tree from first node to last; the buffer grows as it fills.
#include "devices/fdt_builder.h"

#include <libfdt.h>

namespace perfvisor::devices {

namespace {

constexpr size_t kFirstBytes = 16 * 1024;
constexpr size_t kMaxBytes = 8 * 1024 * 1024;

void append_be32(std::vector<uint8_t>& out, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8)
        out.push_back(static_cast<uint8_t>(value >> shift));
}

}  // namespace

FdtBuilder::FdtBuilder() : buffer_(kFirstBytes) {
    error_ = fdt_create(buffer_.data(), static_cast<int>(buffer_.size()));
    if (error_ == 0) error_ = fdt_finish_reservemap(buffer_.data());
}

template <typename Operation>
void FdtBuilder::run(Operation operation) {
    if (error_ != 0) return;
    error_ = operation(buffer_.data());
    while (error_ == -FDT_ERR_NOSPACE && buffer_.size() < kMaxBytes) {
        std::vector<uint8_t> larger(buffer_.size() * 2);
        error_ = fdt_resize(buffer_.data(), larger.data(), static_cast<int>(larger.size()));
        if (error_ != 0) return;
        buffer_.swap(larger);
        error_ = operation(buffer_.data());
    }
}

void FdtBuilder::begin_node(const std::string& name) {
    run([&](void* fdt) { return fdt_begin_node(fdt, name.c_str()); });
}

void FdtBuilder::end_node() {
    run([](void* fdt) { return fdt_end_node(fdt); });
}

void FdtBuilder::bytes(const char* name, std::span<const uint8_t> content) {
    if (content.size() > kMaxBytes) {
        if (error_ == 0) error_ = -FDT_ERR_NOSPACE;
        return;
    }
    const void* data = content.empty() ? "" : static_cast<const void*>(content.data());
    run([&](void* fdt) { return fdt_property(fdt, name, data, static_cast<int>(content.size())); });
}

void FdtBuilder::empty(const char* name) {
    bytes(name, {});
}

void FdtBuilder::cells(const char* name, std::initializer_list<uint32_t> values) {
    cells(name, std::span(values.begin(), values.size()));
}

void FdtBuilder::cells(const char* name, std::span<const uint32_t> values) {
    std::vector<uint8_t> content;
    for (const uint32_t value : values)
        append_be32(content, value);
    bytes(name, content);
}

void FdtBuilder::string(const char* name, std::string_view text) {
    strings(name, {text});
}

void FdtBuilder::strings(const char* name, std::initializer_list<std::string_view> texts) {
    std::vector<uint8_t> content;
    for (const std::string_view text : texts) {
        content.insert(content.end(), text.begin(), text.end());
        content.push_back(0);
    }
    bytes(name, content);
}

void FdtBuilder::phandle(uint32_t value) {
    cells("phandle", {value});
    cells("linux,phandle", {value});
}

void FdtBuilder::interrupt(const SocNode& node) {
    cells("interrupts", {node.interrupt, kSenseLevelHigh});
    cells("interrupt-parent", {node.pic});
}

Result<std::vector<uint8_t>> FdtBuilder::finish() {
    run([](void* fdt) { return fdt_finish(fdt); });
    if (error_ != 0) {
        return fail("the device tree cannot be written: {}", fdt_strerror(error_));
    }
    buffer_.resize(fdt_totalsize(buffer_.data()));
    return std::move(buffer_);
}

}  // namespace perfvisor::devices
