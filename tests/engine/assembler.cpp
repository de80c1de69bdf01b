// SPDX-License-Identifier: GPL-2.0-or-later
// A small assembler for the guests of the tests.
#include "assembler.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>

#include "isa/operands.h"

namespace perfvisor::test {
namespace {

using isa::Opcode;
using Operands = std::vector<std::string>;

struct Line {
    unsigned number;
    uint32_t address;
    std::string mnemonic;
    Operands operands;
};

std::string trimmed(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t");
    if (first == std::string::npos) return "";
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

class Assembler {
  public:
    Assembler(const std::string& text, uint32_t base) { read(text, base); }

    std::vector<uint32_t> words() {
        std::vector<uint32_t> words;
        for (const Line& line : lines_) {
            line_ = &line;
            emit(words, line.mnemonic, line.operands);
        }
        return words;
    }

  private:
    void read(const std::string& text, uint32_t address) {
        std::istringstream stream(text);
        std::string line;
        for (unsigned number = 1; std::getline(stream, line); ++number) {
            line = line.substr(0, line.find('#'));
            for (size_t colon; (colon = line.find(':')) != std::string::npos;) {
                labels_[trimmed(line.substr(0, colon))] = address;
                line = line.substr(colon + 1);
            }
            line = trimmed(line);
            if (line.empty()) continue;
            const size_t space = line.find_first_of(" \t");
            Line parsed{number, address, line.substr(0, space), {}};
            if (space != std::string::npos) {
                std::istringstream rest(line.substr(space));
                for (std::string operand; std::getline(rest, operand, ',');)
                    parsed.operands.push_back(trimmed(operand));
            }
            address += parsed.mnemonic == "li32" ? 8 : 4;
            lines_.push_back(parsed);
        }
    }

    uint32_t bad(const std::string& why) {
        ADD_FAILURE() << "assembler line " << line_->number << ", " << line_->mnemonic << ": "
                      << why;
        return 0;
    }

    int64_t value(const std::string& text) {
        if (const auto label = labels_.find(text); label != labels_.end()) return label->second;
        const char* digits = text.c_str();
        if (text.size() > 1 && (text[0] == 'r' || text[0] == 'f')) ++digits;
        if (text.rfind("cr", 0) == 0) digits = text.c_str() + 2;
        char* end = nullptr;
        const int64_t number = std::strtoll(digits, &end, 0);
        if (end == digits || *end != 0) bad("operand '" + text + "'");
        return number;
    }
    uint32_t field(const std::string& text, unsigned bits, unsigned shift) {
        return (static_cast<uint32_t>(value(text)) & ((1u << bits) - 1)) << shift;
    }

    uint32_t memory_operand(const std::string& text) {
        const size_t open = text.find('(');
        if (open == std::string::npos || text.back() != ')') return bad("operand '" + text + "'");
        const std::string base = text.substr(open + 1, text.size() - open - 2);
        return field(text.substr(0, open), 16, 0) | field(base, 5, 16);
    }

    uint32_t operand(char letter, const std::string& text, bool long_branch) {
        switch (letter) {
            case 'd':
            case 'D':
            case 'y':
                return field(text, 5, 21);
            case 'a':
            case '0':
            case 'A':
            case 'z':
                return field(text, 5, 16);
            case 'b':
            case 'B':
            case 'w':
                return field(text, 5, 11);
            case 'n':
                return field(text, 5, 11);
            case 'C':
            case 'c':
                return field(text, 5, 6);
            case 'e':
                return field(text, 5, 1);
            case 'i':
            case 'u':
                return field(text, 16, 0);
            case 'm':
                return memory_operand(text);
            case 'f':
                return field(text, 3, 23);
            case 'g':
                return field(text, 3, 18);
            case 'x':
                return field(text, 8, 12);
            case 'X':
                return field(text, 8, 17);
            case 's': {
                const auto number = static_cast<uint32_t>(value(text));
                return (number & 31) << 16 | (number & 0x3e0) << 6;
            }
            case 't': {
                const auto offset = static_cast<uint32_t>(value(text)) - line_->address;
                return offset & (long_branch ? 0x03fffffc : 0xfffc);
            }
            case '1':
                return field(text, 1, 21);
            case '2':
            case 'T':
                return field(text, 2, 21);
            case '5':
                return field(text, 2, 11);
            case 'E':
                return field(text, 1, 15);
            case 'I':
                return field(text, 4, 12);
            case 'V':
                return field(text, 7, 5);
            default:
                return bad("an operand this assembler does not know");
        }
    }

    // The opcode of a mnemonic with its suffixes, and the suffixes' bits.
    static std::optional<Opcode> find(const std::string& mnemonic, uint32_t& suffix_bits) {
        for (unsigned i = 1; i < static_cast<unsigned>(Opcode::Count); ++i) {
            const isa::Instruction& row = isa::describe(static_cast<Opcode>(i));
            std::string_view rest = mnemonic;
            const std::string_view name = row.mnemonic;
            if (rest.substr(0, name.size()) != name) continue;
            rest.remove_prefix(name.size());
            suffix_bits = 0;
            const auto accept = [&](char letter, char pattern, unsigned bit) {
                if (rest.empty() || rest[0] != letter || row.pattern[31 - bit] != pattern) return;
                rest.remove_prefix(1);
                suffix_bits |= 1u << bit;
            };
            accept('o', 'o', 10);
            accept('.', 'r', 0);
            accept('l', 'l', 0);
            accept('a', 'k', 1);
            if (rest.empty()) return row.opcode;
        }
        return std::nullopt;
    }

    uint32_t encode(const std::string& mnemonic, const Operands& operands) {
        uint32_t word = 0;
        const std::optional<Opcode> opcode = find(mnemonic, word);
        if (!opcode) return bad("no such instruction");
        word |= isa::describe(*opcode).match;
        const std::string letters = isa::operand_letters(*opcode);
        if (letters.size() != operands.size()) return bad("number of operands");
        for (size_t i = 0; i < letters.size(); ++i)
            word |= operand(letters[i], operands[i], *opcode == Opcode::B);
        return word;
    }

    void emit(std::vector<uint32_t>& words, const std::string& m, const Operands& o) {
        if (m == ".long") {
            words.push_back(static_cast<uint32_t>(value(o.at(0))));
        } else if (m == "li32") {
            const auto number = static_cast<uint32_t>(value(o.at(1)));
            words.push_back(encode("addis", {o[0], "0", std::to_string(number >> 16)}));
            words.push_back(encode("ori", {o[0], o[0], std::to_string(number & 0xffff)}));
        } else if (!emit_simplified(words, m, o)) {
            words.push_back(encode(m, o));
        }
    }

    // Simplified mnemonics (Power ISA, Book I, appendix D).
    bool emit_simplified(std::vector<uint32_t>& words, const std::string& m, const Operands& o) {
        struct Alias {
            const char* mnemonic;
            Operands operands;  // "$n" is operand n
        };
        static const std::map<std::string, Alias> aliases = {
            {"li", {"addi", {"$0", "0", "$1"}}},   {"lis", {"addis", {"$0", "0", "$1"}}},
            {"mr", {"or", {"$0", "$1", "$1"}}},    {"nop", {"ori", {"0", "0", "0"}}},
            {"sub", {"subf", {"$0", "$2", "$1"}}}, {"blr", {"bclr", {"20", "0", "0"}}},
            {"bctr", {"bcctr", {"20", "0", "0"}}}, {"bctrl", {"bcctrl", {"20", "0", "0"}}},
            {"bdnz", {"bc", {"16", "0", "$0"}}},   {"bdz", {"bc", {"18", "0", "$0"}}},
            {"mtlr", {"mtspr", {"8", "$0"}}},      {"mflr", {"mfspr", {"$0", "8"}}},
            {"mtctr", {"mtspr", {"9", "$0"}}},     {"mfctr", {"mfspr", {"$0", "9"}}},
            {"mtxer", {"mtspr", {"1", "$0"}}},     {"mfxer", {"mfspr", {"$0", "1"}}},
        };
        if (const auto found = aliases.find(m); found != aliases.end()) {
            Operands operands;
            for (const std::string& operand : found->second.operands)
                operands.push_back(operand[0] == '$' ? o.at(operand[1] - '0') : operand);
            words.push_back(encode(found->second.mnemonic, operands));
            return true;
        }
        return emit_compare(words, m, o) || emit_condition(words, m, o) || emit_shift(words, m, o);
    }

    // cmpw[i], cmplw[i] with the field optional
    bool emit_compare(std::vector<uint32_t>& words, const std::string& m, const Operands& o) {
        static const std::map<std::string, const char*> names = {
            {"cmpw", "cmp"}, {"cmpwi", "cmpi"}, {"cmplw", "cmpl"}, {"cmplwi", "cmpli"}};
        const auto found = names.find(m);
        if (found == names.end()) return false;
        const bool has_field = o.size() == 3;
        words.push_back(encode(found->second, {has_field ? o[0] : "cr0", "0", o.at(o.size() - 2),
                                               o.at(o.size() - 1)}));
        return true;
    }

    // beq bne blt bge bgt ble bso bns with the field optional
    bool emit_condition(std::vector<uint32_t>& words, const std::string& m, const Operands& o) {
        static const std::map<std::string, std::pair<unsigned, unsigned>> conditions = {
            {"blt", {12, 0}}, {"bgt", {12, 1}}, {"beq", {12, 2}}, {"bso", {12, 3}},
            {"bge", {4, 0}},  {"ble", {4, 1}},  {"bne", {4, 2}},  {"bns", {4, 3}}};
        const auto found = conditions.find(m);
        if (found == conditions.end()) return false;
        const unsigned cr = o.size() == 2 ? static_cast<unsigned>(value(o[0])) : 0;
        words.push_back(encode("bc", {std::to_string(found->second.first),
                                      std::to_string(4 * cr + found->second.second), o.back()}));
        return true;
    }

    // slwi srwi clrlwi
    bool emit_shift(std::vector<uint32_t>& words, const std::string& m, const Operands& o) {
        if (m != "slwi" && m != "srwi" && m != "clrlwi") return false;
        const auto n = static_cast<unsigned>(value(o.at(2)));
        const unsigned shift = m == "slwi" ? n : m == "srwi" ? (32 - n) & 31 : 0;
        words.push_back(encode(
            "rlwinm", {o[0], o[1], std::to_string(shift), std::to_string(m == "slwi" ? 0 : n),
                       std::to_string(m == "slwi" ? 31 - n : 31)}));
        return true;
    }

    std::vector<Line> lines_;
    std::map<std::string, uint32_t> labels_;
    const Line* line_ = nullptr;
};

}  // namespace

std::vector<uint32_t> assemble(const std::string& text, uint32_t base) {
    return Assembler(text, base).words();
}

}  // namespace perfvisor::test
