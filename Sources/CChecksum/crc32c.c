// The portable CRC-32C, and the choice between it and the hardware's.
//
// The hardware's part lives in crc32c_x86.c and crc32c_arm.c, which know this file only by the
// public header.

#include "CChecksum.h"

#include <stdatomic.h>

// MARK: Tables
//
// Slicing-by-8 (Kounavis and Berry, "A Systematic Approach to Building High Performance
// Software-based CRC Generators", ISCC 2005) needs eight tables of 256 words. The compiler works
// them out here, so there is neither a list of 2048 literals to trust nor a moment during start-up
// at which they are not there yet.
//
// In the reflected form, bit i of a word stands for X^(31-i). Multiplying by X is thus a shift to
// the right, and where X^31 (bit 0) falls out, X^32 is replaced by the rest of the polynomial.

#define TIMES_X(word) (int)(((uint32_t)(word) >> 1) ^ (((uint32_t)(word) & 1) ? 0x82F63B78u : 0u))

// A byte that k bytes follow within its group of eight contributes byte * X^(32+8k), where its bit
// 7 stands for X^0 and its bit 0 for X^7. These are the contributions of its single bits, all 64 of
// them one chain of powers, X^32 to X^95. Enumerators, because they alone may build on one another
// in a constant expression of C11; `int`, because C11 lets them have no other type.

#define BITS_OF_BYTE(k, before)                                                                    \
    k##_BIT7 = TIMES_X(before), k##_BIT6 = TIMES_X(k##_BIT7), k##_BIT5 = TIMES_X(k##_BIT6),        \
    k##_BIT4 = TIMES_X(k##_BIT5), k##_BIT3 = TIMES_X(k##_BIT4), k##_BIT2 = TIMES_X(k##_BIT3),      \
    k##_BIT1 = TIMES_X(k##_BIT2), k##_BIT0 = TIMES_X(k##_BIT1)

enum {
    X_TO_31 = 1,
    BITS_OF_BYTE(K0, X_TO_31),
    BITS_OF_BYTE(K1, K0_BIT0),
    BITS_OF_BYTE(K2, K1_BIT0),
    BITS_OF_BYTE(K3, K2_BIT0),
    BITS_OF_BYTE(K4, K3_BIT0),
    BITS_OF_BYTE(K5, K4_BIT0),
    BITS_OF_BYTE(K6, K5_BIT0),
    BITS_OF_BYTE(K7, K6_BIT0)
};

// The code is linear: a byte contributes the sum of what its bits contribute. Each line doubles
// the one before, once without and once with the next bit.

#define SUMS1(k, sum) (uint32_t)(sum), (uint32_t)((sum) ^ k##_BIT0)
#define SUMS2(k, sum) SUMS1(k, sum), SUMS1(k, (sum) ^ k##_BIT1)
#define SUMS3(k, sum) SUMS2(k, sum), SUMS2(k, (sum) ^ k##_BIT2)
#define SUMS4(k, sum) SUMS3(k, sum), SUMS3(k, (sum) ^ k##_BIT3)
#define SUMS5(k, sum) SUMS4(k, sum), SUMS4(k, (sum) ^ k##_BIT4)
#define SUMS6(k, sum) SUMS5(k, sum), SUMS5(k, (sum) ^ k##_BIT5)
#define SUMS7(k, sum) SUMS6(k, sum), SUMS6(k, (sum) ^ k##_BIT6)
#define SUMS8(k) SUMS7(k, 0), SUMS7(k, k##_BIT7)

/// `contribution[k][byte]`: what a byte adds to the register when k bytes follow it.
static const uint32_t contribution[8][256] = {
    {SUMS8(K0)}, {SUMS8(K1)}, {SUMS8(K2)}, {SUMS8(K3)},
    {SUMS8(K4)}, {SUMS8(K5)}, {SUMS8(K6)}, {SUMS8(K7)}
};

// MARK: Portable

/// Four bytes as a number, lowest first whatever the processor's order; compilers make one load
/// of it where they can.
static inline uint32_t load_little_endian(const unsigned char *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
           (uint32_t)from[3] << 24;
}

uint32_t shiplog_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *next = bytes;
    uint32_t state = ~crc;
    for (; count >= 8; count -= 8, next += 8) {
        uint32_t first = state ^ load_little_endian(next);
        uint32_t second = load_little_endian(next + 4);
        // The half that does not wait for the previous turn goes first.
        uint32_t sum = (contribution[3][second & 0xFF] ^ contribution[2][second >> 8 & 0xFF]) ^
                       (contribution[1][second >> 16 & 0xFF] ^ contribution[0][second >> 24]);
        state = (contribution[7][first & 0xFF] ^ contribution[6][first >> 8 & 0xFF]) ^
                (contribution[5][first >> 16 & 0xFF] ^ contribution[4][first >> 24] ^ sum);
    }
    for (; count > 0; count -= 1, next += 1) {
        state = state >> 8 ^ contribution[0][(state ^ *next) & 0xFF];
    }
    return ~state;
}

// MARK: Choice

typedef uint32_t checksum_function(uint32_t crc, const void *bytes, size_t count);

static checksum_function choose;

/// What `shiplog_crc32c` calls. Relaxed order is enough: nothing but the pointer itself is
/// published through it, and threads that race to replace it all store the same value.
static _Atomic(checksum_function *) chosen = choose;

/// Stands in for the first call, so that no static constructor can come too early for the choice.
static uint32_t choose(uint32_t crc, const void *bytes, size_t count) {
    checksum_function *best =
        shiplog_crc32c_has_hardware() ? shiplog_crc32c_hardware : shiplog_crc32c_portable;
    atomic_store_explicit(&chosen, best, memory_order_relaxed);
    return best(crc, bytes, count);
}

uint32_t shiplog_crc32c(uint32_t crc, const void *bytes, size_t count) {
    return atomic_load_explicit(&chosen, memory_order_relaxed)(crc, bytes, count);
}

// MARK: Processors without an instruction for it

#if !defined(__x86_64__) && !defined(__AARCH64EL__)

bool shiplog_crc32c_has_hardware(void) { return false; }

const char *shiplog_crc32c_name(void) { return "portable"; }

uint32_t shiplog_crc32c_hardware(uint32_t crc, const void *bytes, size_t count) {
    return shiplog_crc32c_portable(crc, bytes, count);
}

#endif
