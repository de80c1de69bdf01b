// SPDX-License-Identifier: GPL-2.0-or-later
// The device tree: node by node against QEMU's own, the performance monitor's property, patching.
#include "machine/device_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "image_builder.h"

namespace perfvisor::machine {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

using Properties = std::map<std::string, std::string>;
using Tree = std::map<std::string, Properties>;

// Every node by its path.
Tree flatten(const Bytes& blob) {
    const void* fdt = blob.data();
    EXPECT_EQ(fdt_check_full(fdt, blob.size()), 0);
    Tree tree;
    for (int node = 0; node >= 0; node = fdt_next_node(fdt, node, nullptr)) {
        char path[256];
        EXPECT_EQ(fdt_get_path(fdt, node, path, sizeof(path)), 0);
        Properties& properties = tree[path];
        int property = 0;
        fdt_for_each_property_offset(property, fdt, node) {
            const char* name = nullptr;
            int size = 0;
            const void* value = fdt_getprop_by_offset(fdt, property, &name, &size);
            properties[name] =
                std::string(static_cast<const char*>(value), static_cast<size_t>(size));
        }
    }
    return tree;
}

Tree build(const DeviceTreeConfig& config) {
    const auto blob = build_device_tree(config);
    EXPECT_TRUE(blob);
    return flatten(*blob);
}

std::set<std::string> nodes_with(const Tree& tree, const std::string& property) {
    std::set<std::string> nodes;
    for (const auto& [path, properties] : tree) {
        if (properties.contains(property)) nodes.insert(path);
    }
    return nodes;
}

std::string cells(std::initializer_list<uint32_t> values) {
    std::string out;
    for (const uint32_t value : values) {
        for (int shift = 24; shift >= 0; shift -= 8)
            out.push_back(static_cast<char>(value >> shift));
    }
    return out;
}

std::string text(std::string_view value) {
    return std::string(value) + '\0';
}

TEST(DeviceTree, EveryCpuNodeHasThePerformanceMonitorOrNone) {
    const Tree with = build({.cpus = 3, .memory_bytes = kGiB, .perfmon = true});
    EXPECT_THAT(nodes_with(with, "power-isa-e.pm"),
                ::testing::ElementsAre("/cpus/PowerPC,8544@0", "/cpus/PowerPC,8544@1",
                                       "/cpus/PowerPC,8544@2"));
    EXPECT_EQ(with.at("/cpus/PowerPC,8544@0").at("power-isa-e.pm"), "");
    const Tree without = build({.cpus = 3, .memory_bytes = kGiB});
    EXPECT_THAT(nodes_with(without, "power-isa-e.pm"), ::testing::IsEmpty());
}

TEST(DeviceTree, SecondaryCpusWaitInTheSpinTable) {
    const Tree tree = build({.cpus = 32, .memory_bytes = kGiB});
    EXPECT_EQ(tree.at("/cpus/PowerPC,8544@0").at("status"), text("okay"));
    EXPECT_FALSE(tree.at("/cpus/PowerPC,8544@0").contains("cpu-release-addr"));
    const Properties& last = tree.at("/cpus/PowerPC,8544@1f");
    EXPECT_EQ(last.at("status"), text("disabled"));
    EXPECT_EQ(last.at("enable-method"), text("spin-table"));
    EXPECT_EQ(last.at("cpu-release-addr"), cells({0xf, 0xef0003e0}));
}

TEST(DeviceTree, ChosenHasWhatTheUserGave) {
    const Tree tree = build({.memory_bytes = kGiB,
                             .command_line = "console=ttyS0 quiet",
                             .initrd = {0x4000000, 0x1234}});
    const Properties& chosen = tree.at("/chosen");
    EXPECT_EQ(chosen.at("bootargs"), text("console=ttyS0 quiet"));
    EXPECT_EQ(chosen.at("linux,initrd-start"), cells({0x4000000}));
    EXPECT_EQ(chosen.at("linux,initrd-end"), cells({0x4001234}));
    EXPECT_EQ(chosen.at("stdout-path"), text("/soc@fe0000000/serial@4500"));
    EXPECT_FALSE(chosen.contains("rng-seed")) << "runs are reproducible";
    EXPECT_EQ(tree.at("/aliases").at("serial0"), chosen.at("stdout-path"));
}

TEST(DeviceTree, IsTheSameBytesForTheSameMachine) {
    const DeviceTreeConfig config{.cpus = 2, .memory_bytes = kGiB, .perfmon = true};
    EXPECT_EQ(*build_device_tree(config), *build_device_tree(config));
}

TEST(DeviceTree, RefusesCpuCountsThatTheMachineDoesNotHave) {
    for (const unsigned cpus : {0U, 33U}) {
        const auto blob = build_device_tree({.cpus = cpus, .memory_bytes = kGiB});
        ASSERT_FALSE(blob);
        EXPECT_THAT(blob.error().message, HasSubstr("1 to 32 CPUs"));
    }
}

TEST(DeviceTree, CommandLinesOfAnyLengthFit) {
    const std::string line(100000, 'x');
    EXPECT_EQ(build({.memory_bytes = kGiB, .command_line = line}).at("/chosen").at("bootargs"),
              text(line));
}

// Asks the QEMU that is installed for its tree; empty where there is none.
Bytes qemu_tree(const testing::TemporaryDirectory& directory) {
    if (std::system("command -v qemu-system-ppc >/dev/null 2>&1") != 0) return {};
    const auto kernel =
        directory.write("kernel", testing::make_elf(0, {{0, 0, Bytes{0x48, 0, 0, 0}, 0}}));
    const auto dtb = directory.path("qemu.dtb");
    const std::string command = fmt::format(
        "qemu-system-ppc -M ppce500,dumpdtb={} -cpu e500mc -smp 2 -m 512 -display none "
        "-net none -serial null -serial null -monitor none -kernel {} -append 'a b' "
        ">/dev/null 2>&1",
        dtb.string(), kernel.string());
    if (std::system(command.c_str()) != 0) return {};
    std::ifstream file(dtb, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

// Phandles are numbers without meaning: each is replaced by the path of the node it names.
void name_phandles(Tree& tree) {
    std::map<std::string, std::string> names;
    for (const auto& [path, properties] : tree) {
        if (properties.contains("phandle")) names[properties.at("phandle")] = path;
    }
    for (auto& [path, properties] : tree) {
        for (auto& [name, value] : properties) {
            const bool refers = name == "phandle" || name == "linux,phandle" ||
                                name == "interrupt-parent" || name == "gpios" || name == "fsl,msi";
            // A PCI bus maps a slot (three cells) and a pin to the interrupt controller.
            constexpr size_t kEntry = 7 * 4, kParent = 4 * 4;
            if (name == "interrupt-map")
                for (size_t at = kParent; at + 4 <= value.size(); at += kEntry)
                    if (names.at(value.substr(at, 4)).ends_with("/pic@40000"))
                        value.replace(at, 4, "pic.");
            if (!refers || value.size() < 4) continue;
            const auto named = names.find(value.substr(0, 4));
            if (named != names.end()) value = named->second + value.substr(4);
        }
    }
}

TEST(DeviceTree, SaysWhatThePeersTreeSaysAboutTheSameDevices) {
    const testing::TemporaryDirectory directory;
    const Bytes blob = qemu_tree(directory);
    if (blob.empty()) GTEST_SKIP() << "qemu-system-ppc with the machine ppce500 is not installed";
    Tree theirs = flatten(blob);
    Tree ours =
        build({.cpus = 2, .memory_bytes = 512 * kMiB, .command_line = "a b", .kernel = {0, 4}});
    // What is different on purpose: devices that only one of both has, no random seed, and the I²C
    // bus described as its binding says (with cells, and the clock's alias a full path).
    EXPECT_EQ(ours.erase("/soc@fe0000000/global-utilities@e2000"), 1u);
    theirs.erase("/platform@f00000000");
    theirs.at("/chosen").erase("rng-seed");
    EXPECT_EQ(theirs.at("/aliases").at("rtc"), text("i2c/rtc@68"));
    theirs.at("/aliases").at("rtc") = text("/soc@fe0000000/i2c@3000/rtc@68");
    theirs.at("/soc@fe0000000/i2c@3000")["#address-cells"] = cells({1});
    theirs.at("/soc@fe0000000/i2c@3000")["#size-cells"] = cells({0});
    name_phandles(ours);
    name_phandles(theirs);
    for (const auto& [path, properties] : theirs) {
        ASSERT_TRUE(ours.contains(path)) << path;
        for (const auto& [name, value] : properties) {
            ASSERT_TRUE(ours.at(path).contains(name)) << path << " " << name;
            EXPECT_EQ(ours.at(path).at(name), value) << path << " " << name;
        }
        EXPECT_EQ(ours.at(path).size(), properties.size()) << path;
    }
    EXPECT_EQ(ours.size(), theirs.size());
}

class PatchTest : public ::testing::Test {
  protected:
    PatchTest()
        : blob(*build_device_tree({.cpus = 2,
                                   .memory_bytes = 64 * kMiB,
                                   .perfmon = true,
                                   .command_line = "theirs",
                                   .initrd = {0x1000, 0x1000}})) {}

    Tree patch(const DeviceTreeConfig& config) {
        const auto patched = patch_device_tree(blob, "user.dtb", config);
        EXPECT_TRUE(patched) << patched.error().message;
        return patched ? flatten(*patched) : Tree{};
    }
    std::string error(const Bytes& tree, const DeviceTreeConfig& config = {.memory_bytes = kGiB}) {
        const auto patched = patch_device_tree(tree, "user.dtb", config);
        if (patched) return "(accepted)";
        EXPECT_THAT(patched.error().message, HasSubstr("user.dtb"));
        return patched.error().message;
    }
    // Changes the tree with libfdt; there is room for it.
    template <typename Change>
    void change(Change operation) {
        blob.resize(blob.size() + 4096);
        ASSERT_EQ(fdt_open_into(blob.data(), blob.data(), static_cast<int>(blob.size())), 0);
        operation(blob.data());
        ASSERT_EQ(fdt_pack(blob.data()), 0);
        blob.resize(fdt_totalsize(blob.data()));
    }

    Bytes blob;
};

TEST_F(PatchTest, SetsMemoryInitrdCommandLineAndLeavesTheRest) {
    Tree patched = patch({.memory_bytes = 6 * kGiB,
                          .perfmon = true,
                          .command_line = "ours",
                          .initrd = {0x4000000, 0x200}});
    EXPECT_EQ(patched.at("/memory").at("reg"), cells({0, 0, 1, 0x80000000}));
    EXPECT_EQ(patched.at("/chosen").at("bootargs"), text("ours"));
    EXPECT_EQ(patched.at("/chosen").at("linux,initrd-start"), cells({0x4000000}));
    EXPECT_EQ(patched.at("/chosen").at("linux,initrd-end"), cells({0x4000200}));
    Tree before = flatten(blob);
    for (Tree* tree : {&patched, &before}) {
        tree->erase("/memory");
        tree->erase("/chosen");
    }
    EXPECT_EQ(patched, before);
}

TEST_F(PatchTest, WithoutCommandLineOrInitrdTheUsersLineStaysAndOldInitrdsGo) {
    const Tree patched = patch({.memory_bytes = kGiB});
    EXPECT_EQ(patched.at("/chosen").at("bootargs"), text("theirs"));
    EXPECT_FALSE(patched.at("/chosen").contains("linux,initrd-start"));
    EXPECT_FALSE(patched.at("/chosen").contains("linux,initrd-end"));
}

TEST_F(PatchTest, DefaultArgumentsComeFirstWhoeverHasTheCommandLine) {
    EXPECT_EQ(
        patch({.memory_bytes = kGiB, .default_arguments = "panic=-1"}).at("/chosen").at("bootargs"),
        text("panic=-1 theirs"));
    EXPECT_EQ(patch({.memory_bytes = kGiB, .command_line = "ours", .default_arguments = "panic=-1"})
                  .at("/chosen")
                  .at("bootargs"),
              text("panic=-1 ours"));
    EXPECT_EQ(
        build({.memory_bytes = kGiB, .default_arguments = "panic=-1"}).at("/chosen").at("bootargs"),
        text("panic=-1"));
}

TEST_F(PatchTest, LeavesThePerformanceMonitorAsItIsUnlessAsked) {
    change([](void* tree) {
        EXPECT_EQ(
            fdt_delprop(tree, fdt_path_offset(tree, "/cpus/PowerPC,8544@1"), "power-isa-e.pm"), 0);
    });
    Tree tree = patch({.memory_bytes = kGiB});
    EXPECT_TRUE(tree.at("/cpus/PowerPC,8544@0").contains("power-isa-e.pm"));
    EXPECT_FALSE(tree.at("/cpus/PowerPC,8544@1").contains("power-isa-e.pm"));
}

TEST_F(PatchTest, AddsAndRemovesThePerformanceMonitor) {
    EXPECT_THAT(nodes_with(patch({.memory_bytes = kGiB, .perfmon = false}), "power-isa-e.pm"),
                ::testing::IsEmpty());
    change([](void* fdt) {
        for (const char* path : {"/cpus/PowerPC,8544@0", "/cpus/PowerPC,8544@1"}) {
            ASSERT_EQ(fdt_delprop(fdt, fdt_path_offset(fdt, path), "power-isa-e.pm"), 0);
        }
        // Not a CPU, though it lies among them.
        ASSERT_GE(fdt_add_subnode(fdt, fdt_path_offset(fdt, "/cpus"), "cpu-map"), 0);
    });
    EXPECT_THAT(nodes_with(patch({.memory_bytes = kGiB, .perfmon = true}), "power-isa-e.pm"),
                ::testing::ElementsAre("/cpus/PowerPC,8544@0", "/cpus/PowerPC,8544@1"));
}

TEST_F(PatchTest, MakesTheNodesThatAreMissingAndKeepsOneMemoryNode) {
    change([](void* fdt) {
        ASSERT_EQ(fdt_del_node(fdt, fdt_path_offset(fdt, "/chosen")), 0);
        ASSERT_EQ(fdt_del_node(fdt, fdt_path_offset(fdt, "/memory")), 0);
    });
    const Tree without = patch({.memory_bytes = kGiB, .command_line = "ours"});
    EXPECT_EQ(without.at("/memory").at("reg"), cells({0, 0, 0, 0x40000000}));
    EXPECT_EQ(without.at("/memory").at("device_type"), text("memory"));
    EXPECT_EQ(without.at("/chosen").at("bootargs"), text("ours"));
    change([](void* fdt) {
        for (const char* name : {"memory@0", "memory@40000000"}) {
            const int node = fdt_add_subnode(fdt, 0, name);
            ASSERT_EQ(fdt_setprop_string(fdt, node, "device_type", "memory"), 0);
        }
    });
    const Tree two = patch({.memory_bytes = kGiB});
    EXPECT_EQ(two.contains("/memory@0") + two.contains("/memory@40000000"), 1);
}

TEST_F(PatchTest, SaysWhatIsWrongWithATree) {
    EXPECT_THAT(error(Bytes(10)), HasSubstr("truncated"));
    EXPECT_THAT(error(Bytes(blob.begin(), blob.end() - 1)), HasSubstr("truncated"));
    Bytes bad = blob;
    bad[0] = 0;
    EXPECT_THAT(error(bad), HasSubstr("not a flattened device tree"));
    bad = blob;
    testing::put_be32(bad, fdt_off_dt_struct(blob.data()), 0x77);
    EXPECT_THAT(error(bad), HasSubstr("malformed"));
    EXPECT_THAT(error(Bytes(kMaxDeviceTreeBytes + 1)), HasSubstr("too large"));
    change([](void* fdt) { ASSERT_EQ(fdt_setprop_u32(fdt, 0, "#size-cells", 1), 0); });
    EXPECT_THAT(error(blob, {.memory_bytes = 4 * kGiB}), HasSubstr("cannot describe"));
    change([](void* fdt) {
        for (const char* path : {"/cpus/PowerPC,8544@0", "/cpus/PowerPC,8544@1"}) {
            ASSERT_EQ(fdt_del_node(fdt, fdt_path_offset(fdt, path)), 0);
        }
    });
    EXPECT_THAT(error(blob), HasSubstr("no CPU"));
    change([](void* fdt) { ASSERT_EQ(fdt_del_node(fdt, fdt_path_offset(fdt, "/cpus")), 0); });
    EXPECT_THAT(error(blob), HasSubstr("no node /cpus"));
}

TEST_F(PatchTest, SurvivesRandomDamage) {
    uint32_t state = 1;
    const auto random = [&] { return state = state * 1664525 + 1013904223, state >> 8; };
    int refused = 0;
    for (int round = 0; round < 3000; ++round) {
        Bytes bad = blob;
        for (uint32_t changes = random() % 4 + 1; changes > 0; --changes) {
            bad[random() % bad.size()] = static_cast<uint8_t>(random());
        }
        const auto patched = patch_device_tree(bad, "bad.dtb", {.memory_bytes = kGiB});
        refused += patched ? 0 : 1;
        if (!patched) continue;
        EXPECT_EQ(fdt_check_full(patched->data(), patched->size()), 0);
    }
    EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace perfvisor::machine
