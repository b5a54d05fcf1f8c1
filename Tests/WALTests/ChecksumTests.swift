import CChecksum
import SimulatedDisk
import Testing

@Suite("CRC-32C")
struct ChecksumTests {
  /// Bit by bit, from the polynomial alone.
  private func reference(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc: UInt32 = ~0
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = (crc >> 1) ^ (crc & 1 == 1 ? 0x82F6_3B78 : 0) }
    }
    return ~crc
  }

  private func crc(_ bytes: [UInt8]) -> UInt32 { shiplog_crc32c(0, bytes, bytes.count) }
  private func portable(_ bytes: [UInt8]) -> UInt32 {
    shiplog_crc32c_portable(0, bytes, bytes.count)
  }

  @Test("gives the values of RFC 3720, appendix B.4")
  func vectors() {
    let read: [UInt8] =
      [0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0]
      + [0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    let vectors: [([UInt8], UInt32)] = [
      ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
      ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
      ((0..<32).map { UInt8($0) }, 0x46DD_794E),
      ((0..<32).map { UInt8(31 - $0) }, 0x113F_DB5C),
      (read, 0xD996_3A56),
      (Array("123456789".utf8), 0xE306_9283),
    ]
    for (bytes, expected) in vectors {
      #expect(crc(bytes) == expected)
      #expect(portable(bytes) == expected)
      #expect(reference(bytes) == expected)
    }
  }

  @Test("is the same from every implementation, for every length and alignment")
  func implementationsAgree() {
    var random = SeededRandom(seed: 1)
    let bytes = random.bytes(2_200)
    bytes.withUnsafeBytes { buffer in
      for start in 0..<16 {
        for count in Array(0...300) + [511, 512, 767, 768, 1_023, 1_024, 1_536, 2_047] {
          let part = buffer.baseAddress! + start
          let expected = shiplog_crc32c_portable(0, part, count)
          #expect(shiplog_crc32c(0, part, count) == expected)
          if shiplog_crc32c_has_hardware() {
            #expect(shiplog_crc32c_hardware(0, part, count) == expected)
          }
          if start == 0 { #expect(reference(buffer[..<count]) == expected) }
        }
      }
    }
  }

  @Test("goes on from the checksum of what came before")
  func chains() {
    var random = SeededRandom(seed: 2)
    let bytes = random.bytes(3_000)
    let whole = crc(bytes)
    for _ in 0..<500 {
      let cut = random.below(bytes.count + 1)
      bytes.withUnsafeBytes { buffer in
        let first = shiplog_crc32c(0, buffer.baseAddress!, cut)
        #expect(shiplog_crc32c(first, buffer.baseAddress! + cut, bytes.count - cut) == whole)
        #expect(
          shiplog_crc32c_portable(first, buffer.baseAddress! + cut, bytes.count - cut) == whole)
      }
    }
  }
}
