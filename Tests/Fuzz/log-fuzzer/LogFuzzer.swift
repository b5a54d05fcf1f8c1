import SimulatedDisk
import WAL

/// One run. The first byte chooses the decoder; none of them may trap, read outside of
/// its bytes, or hand out a record that does not lie inside its frame, whatever the rest is.

func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  switch mode % 6 {
  case 0: fuzzRecords(bytes)
  case 1: fuzzSegment(bytes)
  case 2: fuzzSegment(ChecksumRepair.repairedAll(bytes))
  case 3: fuzzStream(bytes, piece: 1 + Int(mode) / 6 * 37)
  case 4: fuzzStream(ChecksumRepair.repairedAll(bytes), piece: 1 + Int(mode) / 6 * 37)
  default: fuzzText(bytes)
  }
  return 0
}

private func fuzzRecords(_ bytes: [UInt8]) {
  guard let first = bytes.first else { return }
  let records = Array(bytes.dropFirst())
  var cursor = RecordCursor(count: UInt32(first))
  do {
    while let record = try cursor.next(in: records.span.bytes) {
      precondition(record.end <= records.count)
      let value = records.span.bytes.extracting(record.value)
      if record.type == .epoch { _ = try? EpochChange(parsing: value) }
      if record.type == .purge { _ = try? ShardRange(parsing: value) }
    }
  } catch {}
  _ = try? SegmentHeader(parsing: records.span.bytes)
  _ = try? FrameHeader(parsing: records.span.bytes, checksum: Checksum(origin: 1))
}

/// A log of one segment with these bytes: read, read on behind damage, opened, written to.
private func fuzzSegment(_ bytes: [UInt8]) {
  let disk = SimulatedDisk(seed: 1, directories: ["/data", "/data/wal"])
  let name = (try? SegmentHeader(parsing: bytes.span.bytes))?.firstSequence ?? 1
  disk.put("/data/wal/" + SegmentName.of(name), bytes)
  var options = LogOptions(dataDirectory: "/data", node: 7)
  options.fileSystem = disk
  options.usesThreads = false
  options.segmentBytes = 4_096
  do {
    var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
    reading: while true {
      switch try reader.next() {
      case .frame(let header):
        try reader.withRecords { try walk($0, header.recordCount) }
      case .damage:
        guard try reader.resume() else { break reading }
      case .end: break reading
      }
    }
  } catch {}
  do {
    let writer = try LogRecovery.open(options).writer
    if writer.owesEpoch {
      let next = Epoch(number: writer.epoch.number + 1, node: options.node)
      try writer.startEpoch(next, reason: .recovered)
    }
    var frame = FrameBuilder(capacityBytes: 256)
    frame.append(.put, key: ([1] as [UInt8]).span.bytes, value: RawSpan())
    let position = try writer.commit(&frame)
    try writer.close()
    // What was opened and written to is a log without damage.
    let again = try LogRecovery.open(options).report
    precondition(again.wasClean && again.position.sequence >= position.sequence)
  } catch {
    guard case WALError.damaged = error else {
      guard case WALError.unsupported = error else {
        guard case WALError.setting = error else { return }
        return
      }
      return
    }
  }
}

/// The same bytes as they come through a pipe, in pieces of that size.
private func fuzzStream(_ bytes: [UInt8], piece: Int) {
  var stream = FrameStream()
  var start = 0
  var isSearching = false
  while true {
    do {
      if isSearching {
        guard stream.findEvidence() else { throw Hungry() }
        isSearching = false
        if let damage = stream.verdict(path: "-"), damage.continuation == nil { return }
      }
      guard let event = try stream.next() else { throw Hungry() }
      guard case .frame(let header) = event else { continue }
      try stream.withRecords { try walk($0, header.recordCount) }
    } catch is FrameStream.Failure {
      isSearching = true
    } catch is Hungry {
      guard start < bytes.count else { return }
      let end = min(bytes.count, start + piece)
      bytes[start..<end].withUnsafeBytes { stream.feed($0) }
      start = end
      if start == bytes.count { stream.finish() }
    } catch {
      preconditionFailure("a checked frame does not parse: \(error)")
    }
  }
}

/// The decoder wants more bytes.
private struct Hungry: Error {}

private func walk(_ records: RawSpan, _ count: UInt32) throws {
  var cursor = RecordCursor(count: count)
  while let record = try cursor.next(in: records) { precondition(record.end <= records.byteCount) }
}

private func fuzzText(_ bytes: [UInt8]) {
  let text = String(decoding: bytes, as: UTF8.self)
  if let epoch = Epoch(text) { precondition(Epoch(epoch.description) == epoch) }
  if let first = SegmentName.firstSequence(text) { precondition(SegmentName.of(first) == text) }
}
