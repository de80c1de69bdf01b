// SPDX-License-Identifier: GPL-2.0-or-later
// The integer kernels: sorting, hashing, matrix, state machine, list walking, string search.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static void print_sum(uint32_t sum) {
    printf("%08x\n", (unsigned)sum);
}

// --- sort: quicksort of 64 Ki integers, small parts by insertion ---------------------------------

enum { kSortLength = 1 << 16, kSmallPart = 12 };

static void insertion_sort(int32_t* first, int32_t* last) {
    for (int32_t* next = first + 1; next < last; ++next) {
        int32_t value = *next;
        int32_t* hole = next;
        for (; hole > first && hole[-1] > value; --hole) {
            *hole = hole[-1];
        }
        *hole = value;
    }
}

static int32_t median(int32_t a, int32_t b, int32_t c) {
    if (a < b) {
        return b < c ? b : a < c ? c : a;
    }
    return a < c ? a : b < c ? c : b;
}

static void quicksort(int32_t* first, int32_t* last) {
    while (last - first > kSmallPart) {
        int32_t pivot = median(first[0], first[(last - first) / 2], last[-1]);
        int32_t* left = first;
        int32_t* right = last - 1;
        for (;;) {
            while (*left < pivot) {
                ++left;
            }
            while (*right > pivot) {
                --right;
            }
            if (left >= right) {
                break;
            }
            int32_t swapped = *left;
            *left++ = *right;
            *right-- = swapped;
        }
        quicksort(first, left);
        first = left;
    }
    insertion_sort(first, last);
}

void run_sort(uint32_t rounds) {
    static int32_t values[kSortLength];
    uint32_t random = 2463534242u;
    uint32_t sum = 0;
    for (uint32_t round = 0; round < rounds; ++round) {
        for (int i = 0; i < kSortLength; ++i) {
            values[i] = (int32_t)next_random(&random);
        }
        quicksort(values, values + kSortLength);
        for (int i = 1; i < kSortLength; ++i) {
            if (values[i - 1] > values[i]) {
                printf("not sorted at %d\n", i);
                return;
            }
        }
        sum = sum * 31 + (uint32_t)values[round % kSortLength];
    }
    print_sum(sum);
}

// --- hash: CRC-32 by table, FNV-1a and SHA-256 over 32 KiB ---------------------------------------

enum { kHashedBytes = 1 << 15 };

static uint32_t crc32(const uint32_t* table, const uint8_t* bytes, uint32_t size) {
    uint32_t crc = ~0u;
    for (uint32_t i = 0; i < size; ++i) {
        crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 255];
    }
    return ~crc;
}

static uint32_t fnv1a(const uint8_t* bytes, uint32_t size) {
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < size; ++i) {
        hash = (hash ^ bytes[i]) * 16777619u;
    }
    return hash;
}

static uint32_t rotate_right(uint32_t value, int bits) {
    return (value >> bits) | (value << (32 - bits));
}

// The round constants are made from the first 32 bits of a fixed sequence instead of the cube
// roots: the work is SHA-256's, the digest is our own.
static void sha_block(uint32_t state[8], const uint32_t constants[64], const uint8_t* bytes) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i, bytes += 4) {
        w[i] = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 |
               bytes[3];
    }
    for (int i = 16; i < 64; ++i) {
        uint32_t a = w[i - 15];
        uint32_t b = w[i - 2];
        uint32_t s0 = rotate_right(a, 7) ^ rotate_right(a, 18) ^ (a >> 3);
        uint32_t s1 = rotate_right(b, 17) ^ rotate_right(b, 19) ^ (b >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t s[8];
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; ++i) {
        uint32_t s1 = rotate_right(s[4], 6) ^ rotate_right(s[4], 11) ^ rotate_right(s[4], 25);
        uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t t1 = s[7] + s1 + choice + constants[i] + w[i];
        uint32_t s0 = rotate_right(s[0], 2) ^ rotate_right(s[0], 13) ^ rotate_right(s[0], 22);
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        s[7] = s[6];
        s[6] = s[5];
        s[5] = s[4];
        s[4] = s[3] + t1;
        s[3] = s[2];
        s[2] = s[1];
        s[1] = s[0];
        s[0] = t1 + s0 + majority;
    }
    for (int i = 0; i < 8; ++i) {
        state[i] += s[i];
    }
}

void run_hash(uint32_t rounds) {
    static uint8_t bytes[kHashedBytes];
    uint32_t table[256];
    uint32_t constants[64];
    uint32_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint32_t random = 88172645u;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 256; ++i) {
        table[i] = i;
        for (int bit = 0; bit < 8; ++bit) {
            table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? 0xedb88320u : 0);
        }
    }
    for (int i = 0; i < 64; ++i) {
        constants[i] = next_random(&random);
    }
    for (uint32_t i = 0; i < kHashedBytes; ++i) {
        bytes[i] = (uint8_t)next_random(&random);
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        bytes[round % kHashedBytes] ^= (uint8_t)round;
        sum = sum * 31 + crc32(table, bytes, kHashedBytes);
        sum = sum * 31 + fnv1a(bytes, kHashedBytes);
        for (uint32_t at = 0; at < kHashedBytes; at += 64) {
            sha_block(state, constants, bytes + at);
        }
        sum = sum * 31 + state[round % 8];
    }
    print_sum(sum);
}

// --- matrix: integer product of 96 by 96 ---------------------------------------------------------

enum { kOrder = 96 };

void run_matrix(uint32_t rounds) {
    static int32_t a[kOrder][kOrder];
    static int32_t b[kOrder][kOrder];
    static int32_t c[kOrder][kOrder];
    uint32_t random = 362436069u;
    uint32_t sum = 0;
    for (int i = 0; i < kOrder; ++i) {
        for (int j = 0; j < kOrder; ++j) {
            a[i][j] = (int32_t)(next_random(&random) & 0xffff);
            b[i][j] = (int32_t)(next_random(&random) & 0x7fff);
        }
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        a[round % kOrder][0] += 1;
        for (int i = 0; i < kOrder; ++i) {
            for (int j = 0; j < kOrder; ++j) {
                uint32_t dot = 0;
                for (int k = 0; k < kOrder; ++k) {
                    dot += (uint32_t)a[i][k] * (uint32_t)b[k][j];
                }
                c[i][j] = (int32_t)dot;
            }
        }
        sum = sum * 31 + (uint32_t)c[round % kOrder][(round * 7) % kOrder];
    }
    print_sum(sum);
}

// --- lexer: a state machine over 64 KiB of program text ------------------------------------------

enum { kTextBytes = 1 << 16 };

typedef enum {
    kBlank,
    kName,
    kNumber,
    kOperator,
    kSlash,
    kLineComment,
    kBlockComment,
    kBlockCommentStar,
    kString,
    kStringEscape,
} LexerState;

typedef struct {
    uint32_t names, numbers, operators, comments, strings, lines;
} Tokens;

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static LexerState begin_token(char c, Tokens* tokens) {
    switch (c) {
        case ' ':
        case '\t':
        case '\n':
            return kBlank;
        case '"':
            ++tokens->strings;
            return kString;
        case '/':
            return kSlash;
        case '0':
        case '1':
        case '2':
        case '3':
        case '4':
        case '5':
        case '6':
        case '7':
        case '8':
        case '9':
            ++tokens->numbers;
            return kNumber;
        default:
            if (is_letter(c)) {
                ++tokens->names;
                return kName;
            }
            ++tokens->operators;
            return kOperator;
    }
}

static LexerState advance(LexerState state, char c, Tokens* tokens) {
    switch (state) {
        case kName:
            return is_letter(c) || (c >= '0' && c <= '9') ? kName : begin_token(c, tokens);
        case kNumber:
            return (c >= '0' && c <= '9') || c == '.' ? kNumber : begin_token(c, tokens);
        case kSlash:
            if (c == '/' || c == '*') {
                ++tokens->comments;
                return c == '/' ? kLineComment : kBlockComment;
            }
            ++tokens->operators;
            return begin_token(c, tokens);
        case kLineComment:
            return c == '\n' ? kBlank : kLineComment;
        case kBlockComment:
            return c == '*' ? kBlockCommentStar : kBlockComment;
        case kBlockCommentStar:
            return c == '/' ? kBlank : c == '*' ? kBlockCommentStar : kBlockComment;
        case kString:
            return c == '"' ? kBlank : c == '\\' ? kStringEscape : kString;
        case kStringEscape:
            return kString;
        case kBlank:
        case kOperator:
            break;
    }
    return begin_token(c, tokens);
}

void run_lexer(uint32_t rounds) {
    static char text[kTextBytes];
    Tokens tokens = {0};
    make_text(text, kTextBytes, 521288629u);
    for (uint32_t round = 0; round < rounds; ++round) {
        LexerState state = kBlank;
        for (uint32_t i = 0; i < kTextBytes; ++i) {
            tokens.lines += text[i] == '\n';
            state = advance(state, text[i], &tokens);
        }
        text[round % kTextBytes] ^= 1;
    }
    print_sum(tokens.names + 3 * tokens.numbers + 5 * tokens.operators + 7 * tokens.comments +
              11 * tokens.strings + 13 * tokens.lines);
}

// --- list: walks over, and moves within, a list whose nodes lie in random order ------------------

enum { kNodes = 1 << 13 };

typedef struct Node {
    struct Node* next;
    uint32_t key;
    uint32_t visits;
    uint32_t padding;
} Node;

void run_list(uint32_t rounds) {
    static Node nodes[kNodes];
    static uint32_t order[kNodes];
    uint32_t random = 123456789u;
    uint32_t sum = 0;
    for (uint32_t i = 0; i < kNodes; ++i) {
        order[i] = i;
    }
    for (uint32_t i = kNodes - 1; i > 0; --i) {
        uint32_t j = next_random(&random) % (i + 1);
        uint32_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
    Node* head = NULL;
    for (uint32_t i = 0; i < kNodes; ++i) {
        Node* node = &nodes[order[i]];
        node->key = next_random(&random);
        node->next = head;
        head = node;
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        Node* largest_before = NULL;
        Node* before = NULL;
        uint32_t largest = 0;
        for (Node* node = head; node != NULL; before = node, node = node->next) {
            uint32_t key = node->key ^ node->visits++;
            sum += key;
            if (key > largest && before != NULL) {
                largest = key;
                largest_before = before;
            }
        }
        // The node with the largest key moves to the front.
        if (largest_before != NULL) {
            Node* moved = largest_before->next;
            largest_before->next = moved->next;
            moved->next = head;
            head = moved;
        }
    }
    print_sum(sum);
}

// --- search: Horspool and plain search in 64 KiB of text -----------------------------------------

static uint32_t count_horspool(const char* text, uint32_t size, const char* pattern) {
    uint32_t length = (uint32_t)strlen(pattern);
    uint32_t skip[256];
    uint32_t found = 0;
    for (int i = 0; i < 256; ++i) {
        skip[i] = length;
    }
    for (uint32_t i = 0; i + 1 < length; ++i) {
        skip[(uint8_t)pattern[i]] = length - 1 - i;
    }
    for (uint32_t at = 0; at + length <= size; at += skip[(uint8_t)text[at + length - 1]]) {
        uint32_t i = length;
        while (i > 0 && text[at + i - 1] == pattern[i - 1]) {
            --i;
        }
        found += i == 0;
    }
    return found;
}

static uint32_t count_plain(const char* text, uint32_t size, const char* pattern) {
    uint32_t length = (uint32_t)strlen(pattern);
    uint32_t found = 0;
    for (uint32_t at = 0; at + length <= size; ++at) {
        uint32_t i = 0;
        while (i < length && text[at + i] == pattern[i]) {
            ++i;
        }
        found += i == length;
    }
    return found;
}

void run_search(uint32_t rounds) {
    static const char* const kPatterns[] = {"counter", "return", "a = b", "while (", "x1"};
    static char text[kTextBytes];
    uint32_t sum = 0;
    make_text(text, kTextBytes, 1442695041u);
    for (uint32_t round = 0; round < rounds; ++round) {
        for (unsigned i = 0; i < sizeof kPatterns / sizeof kPatterns[0]; ++i) {
            uint32_t found = count_horspool(text, kTextBytes, kPatterns[i]);
            if (found != count_plain(text, kTextBytes, kPatterns[i])) {
                printf("the searches differ on \"%s\"\n", kPatterns[i]);
                return;
            }
            sum = sum * 31 + found;
        }
        text[(round * 977) % kTextBytes] ^= 1;
    }
    print_sum(sum);
}
