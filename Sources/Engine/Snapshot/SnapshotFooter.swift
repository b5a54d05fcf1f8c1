import WAL

/// What the end of a snapshot says of its blocks, and of all of them together.
package struct SnapshotFooter: Hashable, Sendable {
  package struct Block: Hashable, Sendable {
    /// Of its header, in the file.
    package var offset: UInt64
    /// What is behind that header.
    package var compressedBytes: UInt32
    package var rawBytes: UInt32
    package var entries: UInt32
    package var crc: UInt32
    package var firstOrder: KeyOrder

    var fileBytes: UInt64 { UInt64(SnapshotFormat.blockHeaderBytes) + UInt64(compressedBytes) }
  }

  package var blocks: [Block] = []
  package var entries: UInt64 = 0
  /// Bytes of all keys and values.
  package var dataBytes: UInt64 = 0
  /// Of each stripe, the sum of what its entries contribute.
  package var digests = [Digest](repeating: Digest(), count: Index.stripeCount)

  package init() {}

  package var digest: Digest {
    var sum = Digest()
    for digest in digests { sum.add(digest) }
    return sum
  }

  private static func bytes(blocks: Int) -> Int {
    SnapshotFormat.fixedFooterBytes + blocks * SnapshotFormat.blockEntryBytes
      + Index.stripeCount * 8
  }

  /// Footer and trailer, as they stand at the end of the file.
  ///
  /// - Parameters:
  ///   - offset: where in the file.
  ///   - headerCRC: that of the file's header.
  func encoded(at offset: UInt64, headerCRC: UInt32, checksum: Checksum) -> [UInt8] {
    let count = Self.bytes(blocks: blocks.count)
    var bytes = [UInt8](repeating: 0, count: count + SnapshotFormat.trailerBytes)
    bytes.withUnsafeMutableBytes { target in
      target.store(SnapshotFormat.footerMagic, at: 0)
      target.store(UInt64(blocks.count), at: 8)
      target.store(entries, at: 16)
      target.store(dataBytes, at: 24)
      target.store(UInt64(0), at: 32)
      var at = SnapshotFormat.fixedFooterBytes
      for block in blocks {
        target.store(block.offset, at: at)
        target.store(block.compressedBytes, at: at + 8)
        target.store(block.rawBytes, at: at + 12)
        target.store(block.entries, at: at + 16)
        target.store(block.crc, at: at + 20)
        target.store(block.firstOrder.number, at: at + 24)
        at += SnapshotFormat.blockEntryBytes
      }
      for digest in digests {
        target.store(digest.sum, at: at)
        at += 8
      }
      target.store(offset, at: at)
      target.store(UInt64(count), at: at + 8)
      target.store(headerCRC, at: at + 16)
      let content = UnsafeRawBufferPointer(target).bytes.extracting(0..<at + 20)
      target.store(checksum(content), at: at + 20)
      target.store(SnapshotFormat.endMagic, at: at + 24)
    }
    return bytes
  }

  /// Where the footer is, from the file's last 32 bytes.
  static func place(
    _ trailer: RawSpan, fileBytes: UInt64
  ) throws(SnapshotViolation) -> (offset: UInt64, count: Int) {
    guard trailer.byteCount == SnapshotFormat.trailerBytes,
      trailer.number(at: 24, as: UInt64.self) == SnapshotFormat.endMagic
    else { throw .trailer }
    let offset = trailer.number(at: 0, as: UInt64.self)
    let count = trailer.number(at: 8, as: UInt64.self)
    guard offset <= fileBytes, count >= UInt64(bytes(blocks: 0)),
      count == fileBytes - offset - UInt64(SnapshotFormat.trailerBytes)
    else { throw .trailer }
    return (offset, Int(count))
  }

  /// - Parameters:
  ///   - bytes: footer and trailer.
  ///   - offset: where they are in the file.
  ///   - blocksFrom: where the header ends.
  init(
    parsing bytes: RawSpan, at offset: UInt64, blocksFrom: UInt64, headerCRC: UInt32,
    checksum: Checksum
  ) throws(SnapshotViolation) {
    let count = bytes.byteCount - SnapshotFormat.trailerBytes
    guard
      checksum(bytes.extracting(0..<count + 20)) == bytes.number(at: count + 20, as: UInt32.self)
    else { throw .footerChecksum }
    guard bytes.number(at: count + 16, as: UInt32.self) == headerCRC,
      bytes.number(at: 0, as: UInt64.self) == SnapshotFormat.footerMagic
    else { throw .footerNumbers }
    let blockCount = bytes.number(at: 8, as: UInt64.self)
    guard blockCount <= UInt64(count / SnapshotFormat.blockEntryBytes),
      count == Self.bytes(blocks: Int(blockCount))
    else { throw .footerNumbers }
    entries = bytes.number(at: 16, as: UInt64.self)
    dataBytes = bytes.number(at: 24, as: UInt64.self)
    var at = SnapshotFormat.fixedFooterBytes
    var next = blocksFrom
    var sum: UInt64 = 0
    blocks.reserveCapacity(Int(blockCount))
    for _ in 0..<blockCount {
      let block = Block(
        offset: bytes.number(at: at, as: UInt64.self),
        compressedBytes: bytes.number(at: at + 8, as: UInt32.self),
        rawBytes: bytes.number(at: at + 12, as: UInt32.self),
        entries: bytes.number(at: at + 16, as: UInt32.self),
        crc: bytes.number(at: at + 20, as: UInt32.self),
        firstOrder: KeyOrder(bytes.number(at: at + 24, as: UInt64.self)))
      guard block.offset == next, block.entries > 0,
        block.rawBytes <= SnapshotFormat.blockRawBytesMax,
        Int(block.compressedBytes)
          <= Zstandard.compressedBytesMax(SnapshotFormat.blockRawBytesMax),
        blocks.last.map({ $0.firstOrder <= block.firstOrder }) ?? true
      else { throw .footerNumbers }
      next += block.fileBytes
      sum += UInt64(block.entries)
      blocks.append(block)
      at += SnapshotFormat.blockEntryBytes
    }
    guard next == offset, sum == entries else { throw .footerNumbers }
    for stripe in 0..<Index.stripeCount {
      digests[stripe] = Digest(sum: bytes.number(at: at, as: UInt64.self))
      at += 8
    }
  }
}
