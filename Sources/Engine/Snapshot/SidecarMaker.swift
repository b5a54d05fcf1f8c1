import Sharding
import WAL

/// Gathers a segment's records, sorts them run by run, and writes the runs to a file.
/// Belongs to one thread.
final class SidecarMaker {
  private let path: String
  private let file: any File
  private let segment: any File
  private let hash: ShardHash
  private let runItemsMax: Int
  /// An item, and where in the record its key is.
  private struct Gathered {
    var item: SegmentSidecar.Item
    var keyOffset: UInt32
    var keyCount: UInt32
  }

  private var items: [Gathered] = []
  private var runs: [SegmentSidecar.Run] = []
  private var summary: LogSummary?
  private var end: UInt64 = 0

  init(
    _ path: String, _ segmentPath: String, runItemsMax: Int, hash: ShardHash,
    fileSystem: any FileSystem
  ) throws(WALError) {
    self.path = path
    self.hash = hash
    self.runItemsMax = runItemsMax
    do {
      try fileSystem.remove(path)
    } catch {
      guard error.isNotFound else { throw error }
    }
    file = try fileSystem.open(path, .create)
    segment = try fileSystem.open(segmentPath, .readOnly)
  }

  /// Takes up a frame's records.
  func add(
    _ header: FrameHeader, _ records: RawSpan, at start: UInt64, origin: UInt64, after: UInt64,
    through: UInt64
  ) throws(WALError) {
    var found =
      summary ?? LogSummary(end: LogBase(origin: origin, position: header.position))
    found.frameTimeMilliseconds = max(found.frameTimeMilliseconds, header.timeMilliseconds)
    let checksum = Checksum(origin: origin)
    var cursor = RecordCursor(count: header.recordCount)
    var sequence = header.firstSequence
    while true {
      let from = cursor.offset
      guard let record = Self.next(&cursor, records) else { break }
      if sequence > after, sequence <= through {
        switch record.type {
        case .put, .delete:
          let hash = hash
          let shardHash = records.withUnsafeBytes {
            hash(UnsafeRawBufferPointer(rebasing: $0[record.key]))
          }
          let item = SegmentSidecar.Item(
            order: KeyOrder(shardHash: shardHash), sequence: sequence,
            offset: start + UInt64(from), byteCount: UInt32(record.end - from),
            crc: checksum(records.extracting(from..<record.end)))
          items.append(
            Gathered(
              item: item, keyOffset: UInt32(record.key.lowerBound - from),
              keyCount: UInt32(record.key.count)))
        case .purge:
          let range = Self.range(records.extracting(record.value))
          found.purges.append(LogSummary.Purge(sequence: sequence, range: range))
        case .epoch:
          found.epochs.append(EpochHistory.Start(epoch: header.epoch, firstSequence: sequence))
        case .handoff, .mark:
          break
        }
      }
      sequence += 1
    }
    summary = found
    if items.count >= runItemsMax { try endRun() }
  }

  private static func next(_ cursor: inout RecordCursor, _ records: RawSpan) -> Record? {
    do {
      return try cursor.next(in: records)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }

  private static func range(_ value: RawSpan) -> ShardRange {
    do {
      return try ShardRange(parsing: value)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }

  private func endRun() throws(WALError) {
    guard !items.isEmpty else { return }
    items.sort {
      $0.item.order == $1.item.order
        ? $0.item.sequence < $1.item.sequence : $0.item.order < $1.item.order
    }
    try keepLast()
    runs.append(SegmentSidecar.Run(offset: end, count: UInt64(items.count)))
    let piece = UnsafeMutableRawBufferPointer.allocate(
      byteCount: SegmentSidecar.chunkItems * SegmentSidecar.Item.bytes + 8, alignment: 16)
    defer { piece.deallocate() }
    var index = 0
    while index < items.count {
      let count = min(SegmentSidecar.chunkItems, items.count - index)
      for number in 0..<count {
        let item = items[index + number].item
        let at = number * SegmentSidecar.Item.bytes
        piece.store(item.order.number, at: at)
        piece.store(item.sequence, at: at + 8)
        piece.store(item.offset, at: at + 16)
        piece.store(item.byteCount, at: at + 24)
        piece.store(item.crc, at: at + 28)
      }
      let bytes = count * SegmentSidecar.Item.bytes
      let content = UnsafeRawBufferPointer(rebasing: piece[..<bytes])
      piece.store(Checksum.unseeded(content.bytes), at: bytes)
      piece.store(UInt32(0), at: bytes + 4)
      try file.writeAll(UnsafeRawBufferPointer(rebasing: piece[..<(bytes + 8)]), at: end)
      end += UInt64(bytes + 8)
      index += count
    }
    items.removeAll(keepingCapacity: true)
  }

  /// Keeps of each key the last item only, and puts keys of one hash in the order of their bytes.
  private func keepLast() throws(WALError) {
    var kept = 0
    var index = 0
    while index < items.count {
      var next = index + 1
      while next < items.count, items[next].item.order == items[index].item.order { next += 1 }
      if next - index == 1 {
        items[kept] = items[index]
        kept += 1
      } else {
        // Mostly one key that was written again and again; seldom several keys of the same hash.
        var found: [(key: [UInt8], item: Gathered)] = []
        for number in index..<next {
          let key = try key(items[number])
          if let last = found.last, last.key == key {
            found[found.count - 1].item = items[number]
          } else {
            found.append((key, items[number]))
          }
        }
        found.sort { Self.isBefore($0, $1) }
        for number in found.indices {
          let isLast = number == found.count - 1 || found[number + 1].key != found[number].key
          guard isLast else { continue }
          items[kept] = found[number].item
          kept += 1
        }
      }
      index = next
    }
    items.removeSubrange(kept...)
  }

  private static func isBefore(
    _ a: (key: [UInt8], item: Gathered), _ b: (key: [UInt8], item: Gathered)
  ) -> Bool {
    let order = a.key.withUnsafeBytes { left in
      b.key.withUnsafeBytes { right in compare(left, right) }
    }
    return order == 0 ? a.item.item.sequence < b.item.item.sequence : order < 0
  }

  private func key(_ gathered: Gathered) throws(WALError) -> [UInt8] {
    let offset = gathered.item.offset + UInt64(gathered.keyOffset)
    let key = try segment.bytes(at: offset, count: Int(gathered.keyCount))
    guard key.count == Int(gathered.keyCount) else {
      throw .invalidFile(path: segment.path, offset: offset, reason: "the file was cut short")
    }
    return key
  }

  func finish(
    _ end: LogBase
  ) throws(WALError) -> (runs: [SegmentSidecar.Run], summary: LogSummary) {
    try endRun()
    var result = summary ?? LogSummary(end: end)
    result.end = end
    var footer = littleEndianBytes(UInt32(runs.count)) + littleEndianBytes(hash.rawValue)
    for run in runs {
      footer += littleEndianBytes(run.offset) + littleEndianBytes(run.count)
    }
    footer += result.encoded
    let trailer =
      littleEndianBytes(UInt32(footer.count))
      + littleEndianBytes(Checksum.unseeded(footer.span.bytes))
      + littleEndianBytes(SegmentSidecar.magic)
    try file.writeAll(footer + trailer, at: self.end)
    return (runs, result)
  }
}

func littleEndianBytes<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
  withUnsafeBytes(of: number.littleEndian) { Array($0) }
}
