import WAL

/// One of the sorted runs of a merge, and where it stands.
protocol MergeSource: AnyObject {
  /// Nil behind the end.
  var order: KeyOrder? { get }
  /// The sequence number of what it stands at.
  var version: UInt64 { get }
  /// The record that it stands at, and the bytes that it refers to: until `advance`.
  func record() throws(WALError) -> (bytes: UnsafeRawBufferPointer, record: Record)
  func advance() throws(WALError)
}

extension MergeSource {
  func key() throws(WALError) -> UnsafeRawBufferPointer {
    let (bytes, record) = try record()
    return UnsafeRawBufferPointer(rebasing: bytes[record.key])
  }

  fileprivate func parse(_ bytes: UnsafeRawBufferPointer) -> Record {
    do {
      return try Record(parsing: bytes.bytes, at: 0)
    } catch {
      preconditionFailure("the record's checksum was right: \(error)")
    }
  }
}

/// The entries of a snapshot.
final class SnapshotSource: MergeSource {
  private let snapshot: SnapshotFile
  private let pace: Pace
  private var blocks: SnapshotBlocks
  private var nextBlock = 0
  private var entry: SnapshotEntry?

  init(_ snapshot: SnapshotFile, pace: Pace) throws(WALError) {
    self.snapshot = snapshot
    self.pace = pace
    blocks = SnapshotBlocks(snapshot)
    try advance()
  }

  var order: KeyOrder? { entry?.order }
  var version: UInt64 { entry?.version ?? 0 }

  func advance() throws(WALError) {
    entry = try blocks.next()
    while entry == nil, nextBlock < snapshot.footer.blocks.count {
      try blocks.load(nextBlock)
      try pace.spent(Int(snapshot.footer.blocks[nextBlock].fileBytes))
      nextBlock += 1
      entry = try blocks.next()
    }
  }

  func record() throws(WALError) -> (bytes: UnsafeRawBufferPointer, record: Record) {
    let bytes = UnsafeRawBufferPointer(rebasing: blocks.bytes[entry!.bytes])
    return (bytes, parse(bytes))
  }
}

/// A run of a sidecar, and the records in the segment that it points to.
final class SidecarSource: MergeSource {
  private let sidecar: SegmentSidecar
  private let pace: Pace
  private var cursor: SidecarCursor
  private var item: SegmentSidecar.Item?
  private var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256, alignment: 16)
  private var loaded: (bytes: UnsafeRawBufferPointer, record: Record)?

  init(_ sidecar: SegmentSidecar, _ run: SegmentSidecar.Run, pace: Pace) throws(WALError) {
    self.sidecar = sidecar
    self.pace = pace
    cursor = SidecarCursor(sidecar, run)
    try advance()
  }

  deinit { buffer.deallocate() }

  var order: KeyOrder? { item?.order }
  var version: UInt64 { item?.sequence ?? 0 }

  func advance() throws(WALError) {
    loaded = nil
    item = try cursor.next()
  }

  func record() throws(WALError) -> (bytes: UnsafeRawBufferPointer, record: Record) {
    if let loaded { return loaded }
    let bytes = try sidecar.read(item!, into: &buffer)
    try pace.spent(bytes.count)
    let found = (bytes, parse(bytes))
    loaded = found
    return found
  }
}
