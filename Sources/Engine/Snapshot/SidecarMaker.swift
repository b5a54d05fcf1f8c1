import Sharding
import WAL

/// Gathers a segment's records, sorts them run by run, and writes the runs to a file.
/// Belongs to one thread.
final class SidecarMaker {
  private let path: String
  private let file: any File
  private let hash: ShardHash
  private let runItemsMax: Int
  private let pace: Pace
  /// An item, and where in `keys` its key is.
  private struct Gathered {
    var item: SegmentSidecar.Item
    var keyOffset: UInt32
    var keyCount: UInt32
  }

  /// A run ends once its keys are so many bytes.
  private static let keyBytesMax = 4 << 20

  private var items: [Gathered] = []
  /// Those of the run before, for its memory.
  private var sorted: [Gathered] = []
  /// Items that were looked at since the pace was asked whether to rest.
  private var steps = 0
  private var keys: [UInt8] = []
  private var runs: [SegmentSidecar.Run] = []
  private var summary: LogSummary?
  private var end: UInt64 = 0

  init(
    _ path: String, runItemsMax: Int, hash: ShardHash, fileSystem: any FileSystem, pace: Pace
  ) throws(WALError) {
    self.path = path
    self.hash = hash
    self.runItemsMax = runItemsMax
    self.pace = pace
    do {
      try fileSystem.remove(path)
    } catch {
      guard error.isNotFound else { throw error }
    }
    file = try fileSystem.open(path, .create)
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
          try step()
          items.append(
            Gathered(
              item: item, keyOffset: UInt32(keys.count), keyCount: UInt32(record.key.count)))
          records.withUnsafeBytes { keys += UnsafeRawBufferPointer(rebasing: $0[record.key]) }
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
    if items.count >= runItemsMax || keys.count >= Self.keyBytesMax { try endRun() }
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
    try sort()
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
      try pace.rest()
    }
    items.removeAll(keepingCapacity: true)
    keys.removeAll(keepingCapacity: true)
  }

  /// By order, then by number: in pieces, those of the same eight bits of the order behind what all of them begin
  /// with (a shard's keys have some bits in common), each of which is short.
  private func sort() throws(WALError) {
    let first = items[0].item.order.number
    var different: UInt64 = 0
    for gathered in items {
      try step()
      different |= gathered.item.order.number ^ first
    }
    let common = min(UInt64(different.leadingZeroBitCount), 56)
    func piece(_ gathered: Gathered) -> Int { Int((gathered.item.order.number << common) >> 56) }
    var ends = [Int](repeating: 0, count: 256)
    for gathered in items {
      try step()
      ends[piece(gathered)] += 1
    }
    for number in 1..<256 { ends[number] += ends[number - 1] }
    var places = [0] + ends.dropLast()
    sorted.removeAll(keepingCapacity: true)
    sorted.reserveCapacity(items.count)
    for gathered in items {
      try step()
      sorted.append(gathered)
    }
    for gathered in items {
      try step()
      let piece = piece(gathered)
      sorted[places[piece]] = gathered
      places[piece] += 1
    }
    for number in 0..<256 {
      try pace.rest()
      let range = (number == 0 ? 0 : ends[number - 1])..<ends[number]
      sorted.withUnsafeMutableBufferPointer { all in
        var part = UnsafeMutableBufferPointer(rebasing: all[range])
        part.sort {
          $0.item.order == $1.item.order
            ? $0.item.sequence < $1.item.sequence : $0.item.order < $1.item.order
        }
      }
    }
    swap(&items, &sorted)
  }

  /// To be called for each item: rests now and then.
  @inline(__always)
  private func step() throws(WALError) {
    steps += 1
    if steps % 128 == 0 { try pace.rest() }
  }

  /// Keeps of each key the last item only, and puts keys of one hash in the order of their bytes.
  private func keepLast() throws(WALError) {
    var kept = 0
    var index = 0
    while index < items.count {
      var next = index + 1
      while next < items.count, items[next].item.order == items[index].item.order { next += 1 }
      // Mostly one key that was written again and again; seldom several keys of the same hash.
      if next - index > 1 { sortByKey(index..<next) }
      for number in index..<next
      where number == next - 1 || compareKeys(items[number], items[number + 1]) != 0 {
        items[kept] = items[number]
        kept += 1
      }
      index = next
      try step()
    }
    items.removeSubrange(kept...)
  }

  private func sortByKey(_ group: Range<Int>) {
    let first = items[group.lowerBound]
    guard !group.allSatisfy({ compareKeys(items[$0], first) == 0 }) else { return }
    items.replaceSubrange(
      group,
      with: items[group].sorted { a, b in
        let order = compareKeys(a, b)
        return order == 0 ? a.item.sequence < b.item.sequence : order < 0
      })
  }

  private func compareKeys(_ a: Gathered, _ b: Gathered) -> Int {
    keys.withUnsafeBytes { compare(Self.key(of: a, in: $0), Self.key(of: b, in: $0)) }
  }

  private static func key(
    of gathered: Gathered, in keys: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    let start = Int(gathered.keyOffset)
    return UnsafeRawBufferPointer(rebasing: keys[start..<start + Int(gathered.keyCount)])
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
