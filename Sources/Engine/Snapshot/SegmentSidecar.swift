import Sharding
import WAL

/// The sorted side of a segment, in a file of its own: where in it the last record about each key is,
/// in the order of snapshots.
///
/// It is made once, when the segment is sealed, and goes when a snapshot covers the segment. So a
/// merge reads sorted runs and holds no more than a piece of each. A run has a bounded number of
/// items, because a run is sorted in memory; a segment of many small records has several.
///
/// The file is not synced: what a crash makes of it is found by its checksums, and made again.
package final class SegmentSidecar {
  /// One record about a key.
  package struct Item {
    static let bytes = 32

    package var order: KeyOrder
    package var sequence: UInt64
    /// Of the record, in the segment's file.
    package var offset: UInt64
    /// Of the record.
    package var byteCount: UInt32
    /// Of the record's bytes.
    var crc: UInt32
  }

  package struct Run: Hashable {
    /// Where it begins in the file, and how many items it has.
    package var offset: UInt64
    package var count: UInt64
  }

  package static let suffix = ".sidecar"
  /// `SHIPSIDE`.
  static let magic: UInt64 = 0x4544_4953_5049_4853
  package static let runItemsMax = 1 << 16
  package static let chunkItems = 512
  /// Of a segment at once: a log that is written past the page cache comes from the disk, which is work for a
  /// processor, too, and this is about as much as is done between two rests.
  private static let readBytes = 32 << 10
  static let trailerBytes = 16
  /// The largest record.
  private static let recordBytesMax = SnapshotFormat.entryBytesMax - 8

  let segmentPath: String
  package let runs: [Run]
  let summary: LogSummary
  /// Where the log's stretch ends that it is of.
  package var end: LogBase { summary.end }
  private let file: OpenFiles.Entry
  private let segment: OpenFiles.Entry
  private let files: OpenFiles
  fileprivate let checksum: Checksum

  /// Opens a sidecar that was made earlier.
  ///
  /// - Parameter files: through which it, and the segment, are read.
  /// - Returns: nil when there is none, or not a whole one, by that hash.
  static func open(
    _ path: String, of segmentPath: String, hash: ShardHash, fileSystem: any FileSystem,
    files: OpenFiles? = nil
  ) throws(WALError) -> SegmentSidecar? {
    do {
      let file = try fileSystem.open(path, .readOnly)
      let size = try file.size()
      guard size >= UInt64(trailerBytes) else { return nil }
      let trailer = try file.bytes(at: size - UInt64(trailerBytes), count: trailerBytes)
      let bytes = trailer.span.bytes
      guard bytes.byteCount == trailerBytes else { return nil }
      let footerBytes = UInt64(bytes.number(at: 0, as: UInt32.self))
      guard bytes.number(at: 8, as: UInt64.self) == magic,
        footerBytes <= size - UInt64(trailerBytes), footerBytes >= 8
      else { return nil }
      let start = size - UInt64(trailerBytes) - footerBytes
      let footer = try file.bytes(at: start, count: Int(footerBytes))
      let content = footer.span.bytes
      guard content.byteCount == Int(footerBytes),
        Checksum.unseeded(content) == bytes.number(at: 4, as: UInt32.self),
        content.number(at: 4, as: UInt32.self) == hash.rawValue,
        let runs = runs(content, before: start),
        let summary = LogSummary(
          parsing: content.extracting(8 + runs.count * 16..<content.byteCount))
      else { return nil }
      return SegmentSidecar(path, segmentPath, runs, summary, files ?? OpenFiles(fileSystem))
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
  }

  /// The runs, one behind the other up to the footer; nil when they are not that.
  private static func runs(_ footer: RawSpan, before end: UInt64) -> [Run]? {
    let count = Int(footer.number(at: 0, as: UInt32.self))
    guard count <= (footer.byteCount - 8) / 16 else { return nil }
    var runs: [Run] = []
    var next: UInt64 = 0
    for number in 0..<count {
      let run = Run(
        offset: footer.number(at: 8 + number * 16, as: UInt64.self),
        count: footer.number(at: 16 + number * 16, as: UInt64.self))
      guard run.offset == next, run.count > 0, run.count <= end / UInt64(Item.bytes) else {
        return nil
      }
      let chunks = (run.count + UInt64(chunkItems) - 1) / UInt64(chunkItems)
      next += run.count * UInt64(Item.bytes) + chunks * 8
      runs.append(run)
    }
    return next == end ? runs : nil
  }

  private init(
    _ path: String, _ segmentPath: String, _ runs: [Run], _ summary: LogSummary,
    _ files: OpenFiles
  ) {
    self.segmentPath = segmentPath
    self.runs = runs
    self.summary = summary
    self.files = files
    file = OpenFiles.Entry(path)
    segment = OpenFiles.Entry(segmentPath)
    checksum = Checksum(origin: summary.end.origin)
  }

  /// Reads a segment, whole or in part, and writes its sidecar.
  ///
  /// - Parameters:
  ///   - path: of the sidecar.
  ///   - after: records up to here are left out; where it is the end of a frame, that frame's.
  ///   - through: and those behind here.
  /// - Throws: `damaged` when the segment is; `invalidFile` when it is not of that history.
  static func make(
    _ path: String, of segment: SegmentFile, after: LogBase? = nil, through: UInt64 = .max,
    runItemsMax: Int = runItemsMax, hash: ShardHash, fileSystem: any FileSystem,
    files: OpenFiles? = nil, pace: Pace
  ) throws(WALError) -> SegmentSidecar {
    var reader = LogReader(files: [segment], chunkBytes: readBytes, fileSystem: fileSystem)
    reader.limit = through
    let maker = try SidecarMaker(
      path, runItemsMax: runItemsMax, hash: hash, fileSystem: fileSystem, pace: pace)
    do {
      try gather(&reader, maker, segment, after: after, through: through, pace)
      let end = LogBase(origin: reader.origin ?? 0, position: reader.end ?? .start)
      let (runs, summary) = try maker.finish(end)
      return SegmentSidecar(
        path, segment.path, runs, summary, files ?? OpenFiles(fileSystem))
    } catch {
      // Where the disk is full it gives room; what is not whole is of no use in any case.
      do { try fileSystem.remove(path) } catch {}
      throw error
    }
  }

  private static func gather(
    _ reader: inout LogReader, _ maker: SidecarMaker, _ segment: SegmentFile, after: LogBase?,
    through: UInt64, _ pace: Pace
  ) throws(WALError) {
    while true {
      switch try reader.next() {
      case .frame(let header):
        let start = reader.frameOffset + UInt64(Format.frameHeaderBytes)
        let origin = reader.origin!
        if let after {
          let isEnd = header.lastSequence == after.position.sequence
          guard origin == after.origin, !isEnd || header.position == after.position else {
            throw .invalidFile(
              path: segment.path, offset: reader.frameOffset,
              reason: "the segment is not of the snapshot's history")
          }
        }
        try reader.withRecords { (records) throws(WALError) in
          try maker.add(
            header, records, at: start, origin: origin, after: after?.position.sequence ?? 0,
            through: through)
        }
        try pace.spent(header.frameBytes)
      case .damage(let damage):
        throw .damaged(damage)
      case .end:
        return
      }
    }
  }

  /// The record of an item, as the log has it.
  ///
  /// - Throws: `invalidFile` when it is not what it was when the sidecar was made.
  package func read(
    _ item: Item, into target: inout UnsafeMutableRawBufferPointer
  ) throws(WALError) -> UnsafeRawBufferPointer {
    let count = Int(item.byteCount)
    guard count <= Self.recordBytesMax, item.offset < 1 << 62 else {
      throw .invalidFile(path: file.path, offset: 0, reason: "an item that cannot be one")
    }
    if target.count < count {
      target.deallocate()
      target = .allocate(byteCount: count, alignment: 16)
    }
    let bytes = UnsafeMutableRawBufferPointer(rebasing: target[..<count])
    guard try files.file(segment).readAll(into: bytes, at: item.offset) == count,
      checksum(UnsafeRawBufferPointer(bytes).bytes) == item.crc
    else {
      throw .invalidFile(
        path: segmentPath, offset: item.offset, reason: "the record's checksum does not match")
    }
    return UnsafeRawBufferPointer(bytes)
  }

  /// Whether all of it is as it was written: it was not synced, so a crash can have taken any part.
  func isWhole() throws(WALError) -> Bool {
    let piece = UnsafeMutableRawBufferPointer.allocate(
      byteCount: Self.chunkItems * Item.bytes + 8, alignment: 16)
    defer { piece.deallocate() }
    do throws(WALError) {
      for run in runs {
        var item: UInt64 = 0
        while item < run.count { item += UInt64(try read(run, from: item, into: piece)) }
      }
      return true
    } catch {
      guard case .invalidFile = error else { throw error }
      return false
    }
  }

  /// Reads a piece of a run.
  fileprivate func read(
    _ run: Run, from item: UInt64, into target: UnsafeMutableRawBufferPointer
  ) throws(WALError) -> Int {
    let count = min(UInt64(Self.chunkItems), run.count - item)
    // Behind each piece is its checksum.
    let before = item / UInt64(Self.chunkItems) * 8
    let offset = run.offset + item * UInt64(Item.bytes) + before
    let bytes = Int(count) * Item.bytes
    let piece = UnsafeMutableRawBufferPointer(rebasing: target[..<(bytes + 8)])
    let read = try files.file(file).readAll(into: piece, at: offset)
    let content = UnsafeRawBufferPointer(piece).bytes
    guard read == bytes + 8,
      Checksum.unseeded(content.extracting(0..<bytes)) == content.number(at: bytes, as: UInt32.self)
    else {
      throw .invalidFile(path: file.path, offset: offset, reason: "a checksum does not match")
    }
    return Int(count)
  }
}

/// Steps through a run.
package struct SidecarCursor: ~Copyable {
  private let sidecar: SegmentSidecar
  private let run: SegmentSidecar.Run
  private let piece: UnsafeMutableRawBufferPointer
  private var pieceCount = 0
  private var position = 0
  private var nextItem: UInt64 = 0

  package init(_ sidecar: SegmentSidecar, _ run: SegmentSidecar.Run) {
    self.sidecar = sidecar
    self.run = run
    // Small segments have small runs, and there are many of them.
    let items = Int(min(run.count, UInt64(SegmentSidecar.chunkItems)))
    piece = .allocate(byteCount: items * SegmentSidecar.Item.bytes + 8, alignment: 16)
  }

  deinit { piece.deallocate() }

  package mutating func next() throws(WALError) -> SegmentSidecar.Item? {
    if position == pieceCount {
      guard nextItem < run.count else { return nil }
      pieceCount = try sidecar.read(run, from: nextItem, into: piece)
      nextItem += UInt64(pieceCount)
      position = 0
    }
    let at = position * SegmentSidecar.Item.bytes
    position += 1
    let bytes = UnsafeRawBufferPointer(piece).bytes
    return SegmentSidecar.Item(
      order: KeyOrder(bytes.number(at: at, as: UInt64.self)),
      sequence: bytes.number(at: at + 8, as: UInt64.self),
      offset: bytes.number(at: at + 16, as: UInt64.self),
      byteCount: bytes.number(at: at + 24, as: UInt32.self),
      crc: bytes.number(at: at + 28, as: UInt32.self))
  }
}
