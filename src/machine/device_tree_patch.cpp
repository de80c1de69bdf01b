// SPDX-License-Identifier: GPL-2.0-or-later
// Puts what is known only at the start of a guest into a device tree that the user brought.
#include <libfdt.h>

#include <cstring>
#include <string_view>

#include "machine/device_tree.h"

namespace perfvisor::machine {

namespace {

constexpr const char* kPerfmonProperty = "power-isa-e.pm";

// libfdt's functions on one writable tree; the first error stays and later calls do nothing.
class TreeEditor {
  public:
    explicit TreeEditor(std::vector<uint8_t>& tree) : tree_(tree) {}

    const char* error() const { return error_ == 0 ? nullptr : fdt_strerror(error_); }

    // The node of that name below `parent`, made if it is not there.
    int child(int parent, const char* name) {
        if (error_ != 0) return 0;
        int node = fdt_subnode_offset(tree_.data(), parent, name);
        if (node == -FDT_ERR_NOTFOUND) node = fdt_add_subnode(tree_.data(), parent, name);
        if (node < 0) error_ = node;
        return node;
    }

    void set(int node, const char* name, const void* value, size_t size) {
        if (error_ != 0) return;
        error_ = fdt_setprop(tree_.data(), node, name, value, static_cast<int>(size));
    }
    void set_cell(int node, const char* name, uint32_t value) {
        if (error_ == 0) error_ = fdt_setprop_u32(tree_.data(), node, name, value);
    }
    void remove(int node, const char* name) {
        if (error_ != 0) return;
        const int status = fdt_delprop(tree_.data(), node, name);
        if (status != -FDT_ERR_NOTFOUND) error_ = status;
    }
    void remove_node(int node) {
        if (error_ == 0) error_ = fdt_del_node(tree_.data(), node);
    }
    // Empty where it is not there.
    std::string string(int node, const char* name) const {
        int length = 0;
        const auto* value =
            static_cast<const char*>(fdt_getprop(tree_.data(), node, name, &length));
        return value != nullptr ? std::string(value, strnlen(value, length)) : std::string();
    }
    bool is_of_type(int node, std::string_view type) const {
        return string(node, "device_type") == type;
    }
    // The node after `node` among all that are of a device type; -1 to begin with.
    int next_of_type(int node, std::string_view type) const {
        do {
            node = fdt_next_node(tree_.data(), node, nullptr);
        } while (node >= 0 && !is_of_type(node, type));
        return node;
    }
    void* data() { return tree_.data(); }

  private:
    std::vector<uint8_t>& tree_;
    int error_ = 0;
};

void append_cells(std::vector<uint8_t>& out, uint64_t value, int cells) {
    for (int shift = cells * 32 - 8; shift >= 0; shift -= 8) {
        out.push_back(shift >= 64 ? 0 : static_cast<uint8_t>(value >> shift));
    }
}

// One memory node with all of RAM; those beyond the first would describe what is not there.
Result<void> set_memory(TreeEditor& tree, const std::string& name, uint64_t bytes) {
    const int address_cells = fdt_address_cells(tree.data(), 0);
    const int size_cells = fdt_size_cells(tree.data(), 0);
    if (address_cells < 1 || size_cells < 1 || (size_cells == 1 && bytes >> 32 != 0)) {
        return fail(
            "device tree {} cannot describe {} MiB of memory: its root has #address-cells "
            "{} and #size-cells {}",
            name, bytes / kMiB, address_cells, size_cells);
    }
    int node = tree.next_of_type(-1, "memory");
    if (node < 0) {
        node = tree.child(0, "memory");
        constexpr char kType[] = "memory";
        tree.set(node, "device_type", kType, sizeof(kType));
    }
    std::vector<uint8_t> reg;
    append_cells(reg, 0, address_cells);
    append_cells(reg, bytes, size_cells);
    tree.set(node, "reg", reg.data(), reg.size());
    while (tree.error() == nullptr) {
        const int other = tree.next_of_type(node, "memory");
        if (other < 0) break;
        tree.remove_node(other);
    }
    return {};
}

void set_chosen(TreeEditor& tree, const DeviceTreeConfig& config) {
    const int node = tree.child(0, "chosen");
    if (config.command_line || !config.default_arguments.empty()) {
        const std::string line = config.bootargs(tree.string(node, "bootargs"));
        tree.set(node, "bootargs", line.c_str(), line.size() + 1);
    }
    if (config.kernel.size != 0) {
        std::vector<uint8_t> place;
        append_cells(place, config.kernel.base, 2);
        append_cells(place, config.kernel.size, 2);
        tree.set(node, "qemu,boot-kernel", place.data(), place.size());
    }
    if (config.initrd.size != 0) {
        tree.set_cell(node, "linux,initrd-start", static_cast<uint32_t>(config.initrd.base));
        tree.set_cell(node, "linux,initrd-end", static_cast<uint32_t>(config.initrd.end()));
    } else {
        tree.remove(node, "linux,initrd-start");
        tree.remove(node, "linux,initrd-end");
    }
}

// In every node below /cpus that is a CPU, or in none, or where it is.
Result<void> set_perfmon(TreeEditor& tree, const std::string& name, std::optional<bool> perfmon) {
    const int cpus = fdt_path_offset(tree.data(), "/cpus");
    if (cpus < 0) return fail("device tree {} has no node /cpus", name);
    int node = 0;
    unsigned count = 0;
    fdt_for_each_subnode(node, tree.data(), cpus) {
        const bool is_cpu = tree.is_of_type(node, "cpu");
        count += is_cpu ? 1 : 0;
        if (!perfmon) continue;
        if (*perfmon && is_cpu) {
            tree.set(node, kPerfmonProperty, "", 0);
        } else {
            tree.remove(node, kPerfmonProperty);
        }
    }
    if (count == 0) return fail("device tree {} has no CPU below /cpus", name);
    return {};
}

Result<void> check_tree(const std::vector<uint8_t>& blob, const std::string& name) {
    if (blob.size() > kMaxDeviceTreeBytes) {
        return fail("device tree {} is too large: {} bytes, at most {} MiB are accepted", name,
                    blob.size(), kMaxDeviceTreeBytes / kMiB);
    }
    if (blob.size() < sizeof(fdt_header)) {
        return fail("device tree {} is truncated: {} bytes are less than its header", name,
                    blob.size());
    }
    if (fdt_magic(blob.data()) != FDT_MAGIC) {
        return fail(
            "device tree {} is not a flattened device tree; is it a source (.dts)? Compile "
            "it with dtc",
            name);
    }
    if (fdt_totalsize(blob.data()) > blob.size()) {
        return fail("device tree {} is truncated: its header announces {} bytes, the file has {}",
                    name, fdt_totalsize(blob.data()), blob.size());
    }
    if (const int status = fdt_check_full(blob.data(), blob.size()); status != 0) {
        return fail("device tree {} is malformed: {}", name, fdt_strerror(status));
    }
    return {};
}

}  // namespace

Result<std::vector<uint8_t>> patch_device_tree(const std::vector<uint8_t>& blob,
                                               const std::string& name,
                                               const DeviceTreeConfig& config) {
    if (auto checked = check_tree(blob, name); !checked) return tl::unexpected(checked.error());
    // Room for all that is added: a few properties for each CPU, the command line, a new node.
    constexpr size_t kRoom = 64 * 1024;
    const size_t line = config.command_line.value_or("").size() + config.default_arguments.size();
    std::vector<uint8_t> tree(fdt_totalsize(blob.data()) + kRoom + line);
    if (const int status = fdt_open_into(blob.data(), tree.data(), static_cast<int>(tree.size()));
        status != 0) {
        return fail("device tree {} is malformed: {}", name, fdt_strerror(status));
    }
    TreeEditor editor(tree);
    if (auto done = set_perfmon(editor, name, config.perfmon); !done) {
        return tl::unexpected(done.error());
    }
    if (auto done = set_memory(editor, name, config.memory_bytes); !done) {
        return tl::unexpected(done.error());
    }
    set_chosen(editor, config);
    if (editor.error() != nullptr) {
        return fail("device tree {} cannot be changed: {}", name, editor.error());
    }
    fdt_pack(tree.data());
    tree.resize(fdt_totalsize(tree.data()));
    return tree;
}

}  // namespace perfvisor::machine
