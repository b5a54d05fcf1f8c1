import CChecksum

/// The checksum of one log: CRC-32C over the eight bytes of the log's origin, then the bytes in
/// question. Because the origin is random, bytes that a client stores as a value cannot pass for
/// a frame of the log that they are stored in.
public struct Checksum: Hashable, Sendable {
  private let seed: UInt32

  public init(origin: UInt64) {
    seed = withUnsafeBytes(of: origin.littleEndian) {
      shiplog_crc32c(0, $0.baseAddress, $0.count)
    }
  }

  /// The plain checksum, of a segment header, which says itself what the origin is.
  package static let unseeded = Checksum()

  private init() { seed = 0 }

  @inline(__always)
  package func callAsFunction(_ bytes: RawSpan) -> UInt32 {
    bytes.withUnsafeBytes { shiplog_crc32c(seed, $0.baseAddress, $0.count) }
  }
}
