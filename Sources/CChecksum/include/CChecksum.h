/// CRC-32C (Castagnoli): the 32-bit checksum of iSCSI, SCTP and ext4.
///
/// The code is defined in RFC 3720, section 12.1: polynomial 0x1EDC6F41 (0x82F63B78 with its bits
/// reflected), register preset to all ones, result complemented, bits taken lowest first.
///
/// Every function that takes a `crc` takes it in the finished form, the one that functions return
/// and files store, and 0 is the checksum of no bytes. So results chain:
///
///     shiplog_crc32c(shiplog_crc32c(0, a, m), b, n)  ==  checksum of a followed by b
///
/// All functions may be called from any thread at any time, also from a static constructor. The
/// bytes need no alignment, and the pointer may be null where the count is 0.

#ifndef SHIPLOG_CCHECKSUM_H
#define SHIPLOG_CCHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Continues `crc` over `count` bytes, by the fastest way this processor has.
uint32_t shiplog_crc32c(uint32_t crc, const void *bytes, size_t count);

/// The same result in plain C, which runs everywhere; for tests, and as the fallback.
uint32_t shiplog_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

/// The same result by the processor's own CRC instruction.
///
/// Call it only where `shiplog_crc32c_has_hardware()` is true: elsewhere the instruction may not
/// exist, and the process would be killed.
uint32_t shiplog_crc32c_hardware(uint32_t crc, const void *bytes, size_t count);

/// Whether this processor has an instruction for CRC-32C that this library can use.
bool shiplog_crc32c_has_hardware(void);

/// What `shiplog_crc32c` uses here: "sse4.2+pclmul", "sse4.2", "armv8-crc" or "portable".
///
/// The string is static; do not free it.
const char *shiplog_crc32c_name(void);

#ifdef __cplusplus
}
#endif

#endif
