import WAL

/// A snapshot on the disk, whose header and footer have been checked. Its blocks are checked when
/// they are read.
package final class SnapshotFile: Sendable {
  package let path: String
  package let header: SnapshotHeader
  package let footer: SnapshotFooter
  /// Of the whole file.
  package let bytes: UInt64
  /// The footer's, which covers all that the checksums of header and blocks do.
  package let crc: UInt32
  private let file: any File
  fileprivate let checksum: Checksum

  /// - Throws: `invalidFile` when it is damaged, `setting` when a later version wrote it.
  package init(_ path: String, fileSystem: any FileSystem = SystemFileSystem()) throws(WALError) {
    self.path = path
    file = try fileSystem.open(path, .readOnly)
    bytes = try file.size()
    do {
      let start = try file.bytes(count: SnapshotFormat.fixedHeaderBytes)
      let headerBytes = try Self.check(path, 0) { () throws(SnapshotViolation) in
        try SnapshotHeader.bytes(of: start.span.bytes)
      }
      let whole = try file.bytes(count: headerBytes)
      header = try Self.check(path, 0) { () throws(SnapshotViolation) in
        try SnapshotHeader(parsing: whole.span.bytes)
      }
      checksum = Checksum(origin: header.base.origin)
      let headerCRC = whole.span.bytes.number(at: headerBytes - 4, as: UInt32.self)
      let trailerBytes = UInt64(SnapshotFormat.trailerBytes)
      let trailerOffset = bytes > trailerBytes ? bytes - trailerBytes : 0
      let trailer = try file.bytes(at: trailerOffset, count: Int(trailerBytes))
      let size = bytes
      let place = try Self.check(path, trailerOffset) { () throws(SnapshotViolation) in
        try SnapshotFooter.place(trailer.span.bytes, fileBytes: size)
      }
      crc = trailer.span.bytes.number(at: 20, as: UInt32.self)
      let end = try file.bytes(at: place.offset, count: place.count + SnapshotFormat.trailerBytes)
      let checksum = checksum
      footer = try Self.check(path, place.offset) { () throws(SnapshotViolation) in
        guard end.count == place.count + SnapshotFormat.trailerBytes else { throw .trailer }
        return try SnapshotFooter(
          parsing: end.span.bytes, at: place.offset, blocksFrom: UInt64(headerBytes),
          headerCRC: headerCRC, checksum: checksum)
      }
    }
  }

  /// Whether a file that begins like this means to be a snapshot, of whichever version.
  package static func isSnapshot(_ start: RawSpan) -> Bool {
    start.byteCount >= 8 && start.number(at: 0, as: UInt64.self) == SnapshotFormat.magic
  }

  static func check<R>(
    _ path: String, _ offset: UInt64, _ body: () throws(SnapshotViolation) -> R
  ) throws(WALError) -> R {
    do {
      return try body()
    } catch {
      if error.isUnsupported {
        throw .setting("\(path): \(error). A newer version wrote it: use that version")
      }
      throw .invalidFile(path: path, offset: offset, reason: "\(error)")
    }
  }

  /// Reads a block as it is in the file: header and compressed bytes.
  fileprivate func read(
    _ block: SnapshotFooter.Block, into target: UnsafeMutableRawBufferPointer
  ) throws(WALError) -> Int {
    try file.readAll(into: target, at: block.offset)
  }
}

/// An entry of a block, as offsets into the block's bytes.
package struct SnapshotEntry {
  package var order: KeyOrder
  package var version: UInt64
  /// The whole record.
  package var bytes: Range<Int>
  package var record: Record
}

/// Reads blocks of a snapshot and steps through their entries. Owns the memory for one block.
package struct SnapshotBlocks: ~Copyable {
  private let source: SnapshotFile
  private let zstandard = Zstandard()
  private var compressed = UnsafeMutableRawBufferPointer.allocate(
    byteCount: 64 << 10, alignment: 16)
  private var raw = UnsafeMutableRawBufferPointer.allocate(
    byteCount: SnapshotFormat.blockRawBytes, alignment: 16)
  private var rawCount = 0
  private var offset = 0
  private var number = 0
  private var remaining: UInt32 = 0
  private var last: (order: KeyOrder, key: Range<Int>)?

  package init(_ source: SnapshotFile) { self.source = source }

  deinit {
    compressed.deallocate()
    raw.deallocate()
  }

  /// The block's bytes, to which the entries' offsets refer; until the next `load`.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: raw[..<rawCount])
  }

  /// The block as it is in the file, header included; until the next `load`.
  package var fileBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: compressed[..<Int(source.footer.blocks[number].fileBytes)])
  }

  private func invalid(_ violation: SnapshotViolation) -> WALError {
    .invalidFile(
      path: source.path, offset: source.footer.blocks[number].offset, reason: "\(violation)")
  }

  /// Reads, checks and decompresses a block.
  ///
  /// - Throws: `invalidFile` when it is damaged.
  package mutating func load(_ number: Int) throws(WALError) {
    let block = source.footer.blocks[number]
    self.number = number
    last = nil
    remaining = 0
    let headerBytes = SnapshotFormat.blockHeaderBytes
    let count = Int(block.fileBytes)
    Self.grow(&compressed, to: count)
    let target = UnsafeMutableRawBufferPointer(rebasing: compressed[..<count])
    guard try source.read(block, into: target) == count else { throw invalid(.blockHeader) }
    let found = UnsafeRawBufferPointer(target).bytes
    guard found.number(at: 0, as: UInt32.self) == block.crc,
      found.number(at: 4, as: UInt32.self) == block.compressedBytes,
      found.number(at: 8, as: UInt32.self) == block.rawBytes,
      found.number(at: 12, as: UInt32.self) == block.entries
    else { throw invalid(.blockHeader) }
    guard source.checksum(found.extracting(4..<count)) == block.crc else {
      throw invalid(.blockChecksum)
    }
    rawCount = Int(block.rawBytes)
    Self.grow(&raw, to: rawCount)
    guard
      zstandard.decompress(
        UnsafeRawBufferPointer(rebasing: compressed[headerBytes..<count]),
        into: UnsafeMutableRawBufferPointer(rebasing: raw[..<rawCount]))
    else { throw invalid(.blockCompression) }
    offset = 0
    remaining = block.entries
  }

  private static func grow(_ buffer: inout UnsafeMutableRawBufferPointer, to count: Int) {
    guard count > buffer.count else { return }
    buffer.deallocate()
    buffer = .allocate(byteCount: count, alignment: 16)
  }

  /// The block's next entry; nil behind the last one.
  ///
  /// - Throws: `invalidFile` when the bytes are not entries in ascending order.
  @inline(__always)
  package mutating func next() throws(WALError) -> SnapshotEntry? {
    guard remaining > 0 else {
      guard offset == rawCount else { throw invalid(.entry) }
      if let last, number + 1 < source.footer.blocks.count {
        guard last.order <= source.footer.blocks[number + 1].firstOrder else {
          throw invalid(.order)
        }
      }
      return nil
    }
    guard rawCount - offset >= 8 else { throw invalid(.entry) }
    let bytes = self.bytes
    let record: Record
    do {
      record = try Record(parsing: bytes.bytes, at: offset + 8)
    } catch {
      throw invalid(.entry)
    }
    let version = bytes.bytes.number(at: offset, as: UInt64.self)
    let isLeaderless = source.header.isLeaderless
    guard record.type == .put || isLeaderless && record.type == .delete, version >= 1,
      version < Format.sequenceLimit
    else {
      throw invalid(.entry)
    }
    let key = UnsafeRawBufferPointer(rebasing: bytes[record.key])
    let order = KeyOrder(shardHash: source.header.hash(key))
    if let last {
      guard
        last.order < order
          || last.order == order
            && compare(UnsafeRawBufferPointer(rebasing: bytes[last.key]), key)
              < (isLeaderless ? 1 : 0)
      else { throw invalid(.order) }
    } else if order != source.footer.blocks[number].firstOrder {
      throw invalid(.order)
    }
    last = (order, record.key)
    let entry = SnapshotEntry(
      order: order, version: version, bytes: offset + 8..<record.end, record: record)
    offset = record.end
    remaining -= 1
    return entry
  }
}
