/// Takes the end off a log that another history has replaced, and keeps it under `diverged/`.
///
/// The directory is closed and locked. The steps, each durable before the next:
///
/// 1. The note `rewind` says where the log is cut, and where what was behind goes. From here on nothing
///    opens this log before the rest is done.
/// 2. The note `epoch-due`: this node may have acknowledged what its log does not have any more, so its
///    own numbers are never used again in the same epoch. The note `clean` goes.
/// 3. What is behind the cut in its segment is saved in a file with a segment header of its own, and the
///    later segments are moved there, the last one first.
/// 4. The rest of the segment is overwritten: zeros, and the end marker if the segment has them.
/// 5. The caller moves what else knows of the lost records.
/// 6. The note `tail` in the directory under `diverged/`, the note `clean` at the new end; the note
///    `rewind` goes.
///
/// Each can be interrupted: whoever finds the note does all of them again, which changes nothing that
/// was done.
package struct LogRewind {
  private let dataDirectory: String
  private let directory: String
  private let fileSystem: any FileSystem
  private let notes: LogNote

  /// What is copied at once.
  private static let pieceBytes = 1 << 20
  private static let temporarySuffix = ".tmp"

  package init(_ dataDirectory: String, fileSystem: any FileSystem) {
    self.dataDirectory = dataDirectory
    directory = dataDirectory + "/wal"
    self.fileSystem = fileSystem
    notes = LogNote(directory: directory, fileSystem: fileSystem)
  }

  private var diverged: String { dataDirectory + "/diverged" }

  /// Where that tail is kept.
  package func place(of tail: LostTail) -> String { "\(diverged)/\(tail.name)" }

  // MARK: - Before

  /// The rewind that was begun here and not finished.
  ///
  /// - Throws: `setting` when its note cannot be read: then it is not known what is left to do.
  package func begun() throws(WALError) -> LostTail? {
    guard let text = try notes.read(.rewind) else { return nil }
    guard let tail = LostTail(text) else {
      throw .setting(
        "\(directory)/\(LogNote.Name.rewind.rawValue): it says that a rewind was begun here, and not "
          + "which. Move the data directory away, and let the node copy its leader")
    }
    return tail
  }

  /// What is behind a fork, from a look at all of it.
  ///
  /// - Parameters:
  ///   - sequence: where the fork is; `epoch` is that of the frame that ends there.
  ///   - origin: the log's.
  /// - Returns: nil when no frame of that epoch ends there, or none is behind it. A log that begins
  ///   behind the fork cannot be taken back to it: the crc of the fork is 0 then.
  /// - Throws: `damaged`, or that of a system call.
  package func tail(
    behind sequence: UInt64, _ epoch: Epoch, origin: UInt64
  ) throws(WALError) -> LostTail? {
    guard let first = try SegmentFile.list(directory, in: fileSystem).first?.firstSequence else {
      return nil
    }
    let isShort = first > sequence + 1
    var reader = try LogReader(
      directory: directory, segmentOf: max(sequence, first), origin: origin,
      fileSystem: fileSystem)
    var position: LogPosition?
    var tail: LostTail?
    while true {
      switch try reader.next() {
      case .frame(let header):
        guard reader.origin == origin else { return nil }
        var previous = position ?? reader.segmentHeader!.previous
        position = header.position
        guard header.lastSequence > sequence else { continue }
        if tail == nil {
          if isShort { previous = LogPosition(epoch: epoch, sequence: sequence, crc: 0) }
          guard isShort || header.firstSequence == sequence + 1, previous.epoch == epoch else {
            return nil
          }
          tail = LostTail(
            origin: origin, fork: previous, lastSequence: 0, writes: 0,
            name: try freeName(header))
        }
        tail!.lastSequence = header.lastSequence
        tail!.writes += reader.withRecords { Self.writes(in: $0, header) }
      case .damage(let damage): throw .damaged(damage)
      case .end: return tail
      }
    }
  }

  /// Puts and deletes in a frame that was checked.
  private static func writes(in records: RawSpan, _ header: FrameHeader) -> UInt64 {
    var cursor = RecordCursor(count: header.recordCount)
    var count: UInt64 = 0
    do throws(FormatViolation) {
      while let record = try cursor.next(in: records) {
        if record.type == .put || record.type == .delete { count += 1 }
      }
    } catch {
      preconditionFailure("the reader has checked the records: \(error)")
    }
    return count
  }

  /// `EPOCH-FIRST`, of the first frame that is lost; with a number behind it where that is taken.
  private func freeName(_ first: FrameHeader) throws(WALError) -> String {
    let stem = "\(first.epoch.number)-\(SegmentName.stem(first.firstSequence))"
    var taken: Set<String> = []
    do {
      taken = Set(try fileSystem.list(diverged))
    } catch {
      guard error.isNotFound else { throw error }
    }
    guard taken.contains(stem) else { return stem }
    var number = 2
    while taken.contains("\(stem)-\(number)") { number += 1 }
    return "\(stem)-\(number)"
  }

  // MARK: - The steps

  /// Notes what is going to be done. From here on it is.
  package func begin(_ tail: LostTail) throws(WALError) {
    try notes.write(.rewind, tail.text)
  }

  /// Saves what is behind the fork, and cuts it off.
  package func cut(_ tail: LostTail) throws(WALError) {
    if try notes.read(.epochDue) == nil {
      try notes.write(.epochDue, "rewound to \(tail.fork.sequence)")
    }
    try notes.remove([.clean])
    let place = place(of: tail)
    try fileSystem.makeDirectory(diverged)
    try fileSystem.syncDirectory(dataDirectory)
    try fileSystem.makeDirectory(place)
    try fileSystem.syncDirectory(diverged)
    let segments = try SegmentFile.list(directory, in: fileSystem)
    let split = segments.last { $0.firstSequence! <= tail.fork.sequence }
    var end: UInt64 = 0
    if let split { end = try save(split, tail, to: place) }
    for segment in segments.reversed() where segment.firstSequence! > tail.fork.sequence {
      try fileSystem.rename(
        segment.path, to: place + "/" + SegmentName.of(segment.firstSequence!))
      try fileSystem.syncDirectory(place)
      try fileSystem.syncDirectory(directory)
    }
    if let split { try clear(split, from: end, tail) }
  }

  /// The log ends at the fork from here on.
  package func finish(_ tail: LostTail) throws(WALError) {
    try tail.write(in: place(of: tail), fileSystem: fileSystem)
    try notes.write(.clean, CleanStop(origin: tail.origin, position: tail.fork).text)
    try notes.remove([.rewind])
  }

  /// Saves what is behind the fork in the segment that holds it, unless that was done.
  ///
  /// - Returns: where the frame ends that stays.
  private func save(
    _ segment: SegmentFile, _ tail: LostTail, to place: String
  ) throws(WALError) -> UInt64 {
    let target = place + "/" + SegmentName.of(tail.firstSequence)
    var reader = try LogReader(
      directory: directory, segmentOf: tail.fork.sequence, origin: tail.origin,
      fileSystem: fileSystem)
    reader.limit = tail.fork.sequence
    while true {
      switch try reader.next() {
      case .frame: continue
      case .damage(let damage): throw .damaged(damage)
      case .end: break
      }
      break
    }
    guard reader.end == tail.fork, let header = reader.segmentHeader else {
      throw .damaged(
        Damage(
          kind: .corrupt, path: segment.path, offset: reader.nextOffset,
          sequence: tail.fork.sequence, finding: .chain(found: reader.end?.sequence ?? 0)))
    }
    let start = reader.nextOffset
    let names = try fileSystem.list(place)
    if names.contains(lastComponent(target)) {
      // An earlier attempt's, whose removal a power loss undid.
      let left = lastComponent(target) + Self.temporarySuffix
      if names.contains(left) { try fileSystem.remove(place + "/" + left) }
      // Its name may not have been durable yet when it was interrupted.
      try fileSystem.syncDirectory(place)
      return start
    }
    let end = try endOfFrames(&reader, in: segment.path)
    guard end > start else { return start }
    let saved = SegmentHeader(
      origin: tail.origin, previous: tail.fork, durableSequence: 0, isShipped: header.isShipped)
    try copy(start..<end, of: segment.path, behind: saved.encoded, to: target)
    return start
  }

  /// Where the last frame of a segment ends.
  private func endOfFrames(
    _ reader: inout LogReader, in path: String
  ) throws(WALError) -> UInt64 {
    var end = reader.nextOffset
    reader.limit = .max
    while true {
      switch try reader.next() {
      case .frame:
        guard reader.path == path else { return end }
        end = reader.nextOffset
      case .damage(let damage): throw .damaged(damage)
      case .end: return end
      }
    }
  }

  private func copy(
    _ range: Range<UInt64>, of path: String, behind header: [UInt8], to target: String
  ) throws(WALError) {
    let temporary = target + Self.temporarySuffix
    do {
      try fileSystem.remove(temporary)
    } catch {
      guard error.isNotFound else { throw error }
    }
    let source = try fileSystem.open(path, .readOnly)
    let file = try fileSystem.open(temporary, .create)
    do throws(WALError) {
      try file.writeAll(header, at: 0)
      var offset = range.lowerBound
      while offset < range.upperBound {
        let count = min(Self.pieceBytes, Int(range.upperBound - offset))
        let bytes = try source.bytes(at: offset, count: count)
        guard bytes.count == count else {
          throw .system(.read, path: path, errno: systemIOError)
        }
        try file.writeAll(bytes, at: UInt64(header.count) + offset - range.lowerBound)
        offset += UInt64(count)
      }
      try file.sync()
    } catch {
      // What was written of it takes the room that is missing.
      if error.isNoSpace { try fileSystem.remove(temporary) }
      throw error
    }
    try fileSystem.rename(temporary, to: target)
    try fileSystem.syncDirectory(parentDirectory(target))
  }

  private func clear(
    _ segment: SegmentFile, from offset: UInt64, _ tail: LostTail
  ) throws(WALError) {
    let file = try fileSystem.open(segment.path, .readWrite)
    let header: SegmentHeader
    let bytes = try file.bytes(count: Format.segmentHeaderBytes)
    do {
      header = try SegmentHeader(parsing: bytes.span.bytes)
    } catch {
      throw .invalidFile(path: segment.path, offset: 0, reason: "\(error)")
    }
    try file.zero(offset..<max(offset, try file.size()))
    if header.isMarked {
      let end = EndMarker(tail.fork).encoded(Checksum(origin: tail.origin))
      try file.writeAll(end, at: offset)
    }
    try file.sync()
  }
}
