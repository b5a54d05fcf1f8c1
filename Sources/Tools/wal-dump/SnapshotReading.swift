import Engine
import WAL

/// One snapshot, read block by block into what becomes of its entries, with what is wrong with it said
/// on the way.
struct SnapshotReading {
  private let path: String
  private let isVerified: Bool
  private let showsProgress: Bool

  init(_ path: String, isVerified: Bool, showsProgress: Bool) {
    self.path = path
    self.isVerified = isVerified
    self.showsProgress = showsProgress
  }

  /// - Returns: the exit code.
  /// - Throws: when it cannot be read, or was written by a later version.
  func run<Sink: FrameSink & ~Copyable>(into sink: inout Sink) throws(DumpError) -> Int32 {
    let snapshot: SnapshotFile
    do {
      snapshot = try SnapshotFile(path)
    } catch {
      guard case .invalidFile = error else { throw .log(error) }
      tell(error)
      return Exit.corrupt
    }
    var progress = Progress(isWanted: showsProgress, totalBytes: snapshot.bytes)
    var isWhole = checkName(snapshot)
    var counts = SnapshotCheck.Counts(shardCount: snapshot.header.shardCount)
    var blocks = SnapshotBlocks(snapshot)
    for (number, block) in snapshot.footer.blocks.enumerated() {
      do throws(WALError) {
        try read(number, of: snapshot, &blocks, &counts, into: &sink)
      } catch {
        guard case .invalidFile = error else { throw .log(error) }
        // The blocks behind it stand for themselves.
        isWhole = false
        sink.pause()
        progress.erase()
        tell(error)
      }
      try sink.check()
      progress.note(block.offset)
    }
    if isWhole, let violation = counts.violation(of: snapshot.footer) {
      isWhole = false
      sink.pause()
      tell(.invalidFile(path: path, offset: 0, reason: "\(violation)"))
    }
    progress.erase()
    sink.end(snapshot)
    try sink.check()
    guard isWhole else { return Exit.corrupt }
    if isVerified { conclude(snapshot, seconds: progress.seconds) }
    return Exit.clean
  }

  private func read<Sink: FrameSink & ~Copyable>(
    _ number: Int, of snapshot: SnapshotFile, _ blocks: inout SnapshotBlocks,
    _ counts: inout SnapshotCheck.Counts, into sink: inout Sink
  ) throws(WALError) {
    let block = snapshot.footer.blocks[number]
    try blocks.load(number)
    while let entry = try blocks.next() {
      guard counts.add(entry) else {
        throw .invalidFile(path: path, offset: block.offset, reason: "entries are out of order")
      }
      // Of a leaderless shard it says which log as well.
      let dot = MergedSnapshot.dot(of: entry.version, snapshot.header)
      let header = FrameHeader(
        standingFor: dot?.sequence ?? entry.version,
        epoch: snapshot.header.epoch(of: entry.version),
        timeMilliseconds: snapshot.header.timeMilliseconds, crc: block.crc,
        recordBytes: entry.bytes.count)
      sink.take(header, blocks.bytes.bytes.extracting(entry.bytes))
    }
  }

  /// In a directory the name says how far a snapshot goes.
  private func checkName(_ snapshot: SnapshotFile) -> Bool {
    guard let named = SnapshotDirectory.sequence(lastComponent(path)),
      named != snapshot.header.sequence
    else { return true }
    tell(
      .invalidFile(
        path: path, offset: 0, reason: "it is a snapshot up to \(snapshot.header.sequence)"))
    return false
  }

  private func tell(_ error: WALError) {
    System.writeLine(
      "\(error). A start does without it where it can; restore it from a backup where it cannot",
      to: isVerified ? System.standardOutput : System.standardError)
  }

  private func conclude(_ snapshot: SnapshotFile, seconds: Double) {
    let header = snapshot.header
    let rate = Double(snapshot.bytes) / max(seconds, 1e-6) / 1e6
    System.writeLine(
      "\(path): clean: \(counted(snapshot.footer.entries, "key")) in "
        + "\(counted(UInt64(snapshot.footer.blocks.count), "block")), \(snapshot.bytes) bytes, "
        + "sequence number \(header.sequence), epoch \(header.base.position.epoch.number), "
        + "\(Int(rate.rounded())) MB/s", to: System.standardOutput)
  }
}
