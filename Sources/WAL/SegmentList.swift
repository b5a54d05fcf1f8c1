/// The segments that a reader has before it: the one it reads, or opens next, and those behind it.
struct SegmentList {
  private let fileSystem: any FileSystem
  /// Nil when the files were given one by one and nothing can appear behind them.
  private let directory: String?
  /// The directory as it was listed last. Set only where `segments` is, so that an error is the same
  /// again when asked again.
  private var listing: [SegmentFile] = []
  private(set) var segments: [SegmentFile]

  init(directory: String, fileSystem: any FileSystem) {
    self.fileSystem = fileSystem
    self.directory = directory
    segments = []
  }

  init(files: [SegmentFile], fileSystem: any FileSystem) {
    self.fileSystem = fileSystem
    directory = nil
    segments = files
  }

  var current: SegmentFile? { segments.first }
  var next: SegmentFile? { segments.count > 1 ? segments[1] : nil }
  var later: ArraySlice<SegmentFile> { segments.dropFirst() }

  /// True when the current segment has lost its name since it was opened.
  var isCurrentRetired: Bool {
    guard let current, !listing.isEmpty else { return false }
    return !listing.contains(current)
  }

  mutating func step(over count: Int = 1) {
    segments.removeFirst(count)
  }

  /// Lists the directory, and chooses the segments to go on with.
  ///
  /// - Parameters:
  ///   - isReading: true when the current segment is open: it is read to its end, whether or not it
  ///     still has a name.
  ///   - wanted: the next sequence number to be read; nil for the log's first.
  /// - Returns: false when nothing has changed.
  /// - Throws: `notRetained` when the wanted record is in no segment any more.
  mutating func refresh(isReading: Bool, wanted: UInt64?) throws(WALError) -> Bool {
    guard let directory else { return false }
    let found = try SegmentFile.list(directory, in: fileSystem)
    guard found != listing else { return false }
    if isReading, let current {
      segments = [current] + found.filter { $0.firstSequence! > current.firstSequence! }
    } else if let start = found.lastIndex(where: { $0.firstSequence! <= max(wanted ?? 1, 1) }) {
      segments = Array(found[start...])
    } else if let first = found.first, let wanted {
      throw .notRetained(sequence: wanted, oldest: first.firstSequence!)
    } else {
      segments = found
    }
    listing = found
    return true
  }

  /// Opens the current segment and keeps it from being recycled while it is read.
  ///
  /// - Returns: nil when the list has changed instead.
  mutating func open(wanted: UInt64?) throws(WALError) -> (any File)? {
    let segment = segments[0]
    let file: any File
    do {
      file = try fileSystem.open(segment.path, .readOnly)
    } catch {
      guard error.isNotFound, try refresh(isReading: false, wanted: wanted) else { throw error }
      return nil
    }
    // Whoever recycles the segment has it locked for a moment before it loses its name.
    for _ in 0..<100 {
      if try file.tryLock(exclusive: false) { return file }
      if try refresh(isReading: false, wanted: wanted) { return nil }
      pause(milliseconds: 1)
    }
    throw .locked(path: segment.path, holder: "another process, which does not let it be read")
  }
}
