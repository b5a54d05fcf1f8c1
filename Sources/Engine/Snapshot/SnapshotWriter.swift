import Sharding
import WAL

/// Writes a snapshot, entry by entry in their order. Belongs to one thread.
///
/// Until `finish` has returned there is no file of that name: it is written under a temporary one,
/// synced, and renamed.
package final class SnapshotWriter {
  private let path: String
  private let temporary: String
  private let fileSystem: any FileSystem
  private let file: any File
  private let header: SnapshotHeader
  private let headerCRC: UInt32
  private let checksum: Checksum
  private let pace: Pace
  private let shardBits: UInt64
  private let zstandard = Zstandard()
  private var raw: UnsafeMutableRawBufferPointer
  private var rawCount = 0
  private var blockEntries: UInt32 = 0
  private var blockOrder = KeyOrder(0)
  private var block: UnsafeMutableRawBufferPointer
  private var end: UInt64
  private var footer = SnapshotFooter()
  private var isFinished = false

  static let temporarySuffix = ".tmp"

  /// - Throws: that of a system call; `diskFull` among them is told by its errno.
  package init(
    _ header: SnapshotHeader, path: String, fileSystem: any FileSystem, pace: Pace
  ) throws(WALError) {
    self.header = header
    self.path = path
    self.fileSystem = fileSystem
    self.pace = pace
    temporary = path + Self.temporarySuffix
    checksum = Checksum(origin: header.base.origin)
    shardBits = UInt64(header.shardCount.trailingZeroBitCount)
    raw = .allocate(byteCount: SnapshotFormat.blockRawBytes * 2, alignment: 16)
    block = .allocate(
      byteCount: SnapshotFormat.blockHeaderBytes + Zstandard.compressedBytesMax(raw.count),
      alignment: 16)
    let bytes = header.encoded
    headerCRC = bytes.span.bytes.number(at: bytes.count - 4, as: UInt32.self)
    end = UInt64(bytes.count)
    do {
      // Left behind by a crash.
      try fileSystem.remove(temporary)
    } catch {
      guard error.isNotFound else { throw error }
    }
    file = try fileSystem.open(temporary, .create)
    try file.writeAll(bytes, at: 0)
  }

  deinit {
    raw.deallocate()
    block.deallocate()
  }

  /// Bytes of the file so far.
  package var fileBytes: UInt64 { end }

  /// Adds an entry: a put record as the log has it, and its sequence number.
  package func append(
    _ order: KeyOrder, version: UInt64, _ record: UnsafeRawBufferPointer, dataBytes: Int
  ) throws(WALError) {
    let bytes = 8 + record.count
    if rawCount > 0, rawCount + bytes > SnapshotFormat.blockRawBytes { try endBlock() }
    reserve(bytes)
    if blockEntries == 0 { blockOrder = order }
    raw.store(version, at: rawCount)
    raw.store(record.bytes, at: rawCount + 8)
    rawCount += bytes
    blockEntries += 1
    count(order, version: version, dataBytes: dataBytes)
    if footer.entries % 64 == 0 { try pace.rest() }
  }

  @inline(__always)
  private func count(_ order: KeyOrder, version: UInt64, dataBytes: Int) {
    footer.entries += 1
    footer.dataBytes += UInt64(dataBytes)
    let hash = KeyHash(shard: order.shardHash, slot: 0)
    let stripe = Int(UInt8(truncatingIfNeeded: hash.shard >> shardBits).bitReversed)
    footer.digests[stripe].add(hash, version: version)
  }

  /// An entry of another snapshot: where it is in its block's bytes.
  package struct CopiedEntry {
    let order: KeyOrder
    let version: UInt64
    let bytes: Range<Int>
    let dataBytes: Int

    @inline(__always)
    package init(_ entry: SnapshotEntry) {
      order = entry.order
      version = entry.version
      bytes = entry.bytes
      dataBytes = entry.record.key.count + entry.record.value.count
    }
  }

  /// Adds an entry of another snapshot.
  ///
  /// - Parameter block: its block's bytes.
  package func append(
    _ entry: CopiedEntry, in block: UnsafeRawBufferPointer
  ) throws(WALError) {
    try append(
      entry.order, version: entry.version, UnsafeRawBufferPointer(rebasing: block[entry.bytes]),
      dataBytes: entry.dataBytes)
  }

  /// Adds a block of another snapshot of the same origin as it is, and with it its checksum.
  ///
  /// - Parameters:
  ///   - bytes: the block as it is in that file, checked.
  ///   - entries: all that are in it.
  package func append(
    _ copied: SnapshotFooter.Block, _ bytes: UnsafeRawBufferPointer, _ entries: [CopiedEntry]
  ) throws(WALError) {
    precondition(entries.count == Int(copied.entries) && bytes.count == Int(copied.fileBytes))
    try endBlock()
    try file.writeAll(bytes, at: end)
    var copy = copied
    copy.offset = end
    footer.blocks.append(copy)
    end += UInt64(bytes.count)
    for entry in entries { count(entry.order, version: entry.version, dataBytes: entry.dataBytes) }
    try pace.wrote(bytes.count, file)
  }

  private func reserve(_ bytes: Int) {
    guard rawCount + bytes > raw.count else { return }
    let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: rawCount + bytes, alignment: 16)
    larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[..<rawCount]))
    raw.deallocate()
    raw = larger
    block.deallocate()
    block = .allocate(
      byteCount: SnapshotFormat.blockHeaderBytes + Zstandard.compressedBytesMax(raw.count),
      alignment: 16)
  }

  private func endBlock() throws(WALError) {
    guard blockEntries > 0 else { return }
    let headerBytes = SnapshotFormat.blockHeaderBytes
    let pace = pace
    let compressed = try zstandard.compress(
      UnsafeRawBufferPointer(rebasing: raw[..<rawCount]),
      into: UnsafeMutableRawBufferPointer(rebasing: block[headerBytes...])
    ) { () throws(WALError) in try pace.rest() }
    block.store(UInt32(compressed), at: 4)
    block.store(UInt32(rawCount), at: 8)
    block.store(blockEntries, at: 12)
    let count = headerBytes + compressed
    let content = UnsafeRawBufferPointer(rebasing: block[4..<count])
    let crc = checksum(content.bytes)
    block.store(crc, at: 0)
    try file.writeAll(UnsafeRawBufferPointer(rebasing: block[..<count]), at: end)
    footer.blocks.append(
      SnapshotFooter.Block(
        offset: end, compressedBytes: UInt32(compressed), rawBytes: UInt32(rawCount),
        entries: blockEntries, crc: crc, firstOrder: blockOrder))
    end += UInt64(count)
    rawCount = 0
    blockEntries = 0
    try pace.wrote(count, file)
  }

  /// Ends the file, makes it durable, and gives it its name.
  package func finish() throws(WALError) -> SnapshotFooter {
    try endBlock()
    let bytes = footer.encoded(at: end, headerCRC: headerCRC, checksum: checksum)
    try file.writeAll(bytes, at: end)
    end += UInt64(bytes.count)
    try file.sync()
    try fileSystem.rename(temporary, to: path)
    try fileSystem.syncDirectory(parentOf(path))
    isFinished = true
    return footer
  }

  /// Removes what was written, as far as that is possible; a start removes it, too.
  package func discard() {
    guard !isFinished else { return }
    do { try fileSystem.remove(temporary) } catch {}
  }
}

/// The directory part of a path.
func parentOf(_ path: String) -> String {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}
