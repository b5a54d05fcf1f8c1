import Engine
import WAL

/// Finds out which logs and snapshots the paths of a command line name.
struct LogPlaces {
  private let fileSystem = SystemFileSystem()
  private(set) var places: [LogPlace] = []
  private var files: [(SegmentFile, SegmentHeader?)] = []
  private let includesSnapshots: Bool

  /// - Parameter includesSnapshots: whether a data directory stands for its snapshots as well.
  /// - Throws: when a path names no log at all.
  init(_ paths: [String], includesSnapshots: Bool = false) throws(DumpError) {
    self.includesSnapshots = includesSnapshots
    for path in paths {
      if path == "-" {
        places.append(LogPlace(name: LogPlace.standardInputName, content: .standardInput))
      } else {
        do throws(WALError) {
          if try fileSystem.isDirectory(path) {
            try addDirectory(trimmed(path))
          } else {
            try addFile(path)
          }
        } catch {
          throw message(error, path)
        }
      }
    }
    for group in groups() { places.append(group) }
    for path in unknown { throw .message(path) }
  }

  /// What was wrong with paths that are there.
  private var unknown: [String] = []

  private func message(_ error: WALError, _ path: String) -> DumpError {
    guard error.isNotFound else { return .log(error) }
    return .message(
      "\(path): no such file or directory. Name a data directory, a segment, a snapshot, or - for "
        + "standard input"
    )
  }

  private func trimmed(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  // MARK: - Directories

  private mutating func addDirectory(_ path: String) throws(WALError) {
    let names = try fileSystem.list(path)
    if names.contains("wal"), try fileSystem.isDirectory(path + "/wal") {
      try addLogs(in: path + "/wal", name: path, dataDirectory: path)
      if includesSnapshots { try addSnapshots(of: path) }
      return
    }
    let real = System.realPath(path)
    let isLogDirectory = lastComponent(real) == "wal"
    let count = places.count
    try addSnapshots(in: path)
    try addSnapshots(of: path)
    try addLogs(
      in: path, name: path, dataDirectory: Self.dataDirectory(ofLogDirectory: real),
      allowsEmpty: isLogDirectory || names.isEmpty)
    // What was cut off at some time: each file is a piece of its own.
    for name in names.sorted() where Self.isPiece(name) {
      let file = SegmentFile(path: path + "/" + name, firstSequence: nil)
      places.append(LogPlace(name: file.path, content: .files([file])))
    }
    if places.count == count {
      unknown.append(
        "\(path): no log here. Name a data directory (it has wal/), a directory of *.wal files, "
          + "or such files")
    }
  }

  /// The snapshots of a data directory, oldest first.
  private mutating func addSnapshots(of dataDirectory: String) throws(WALError) {
    do {
      try addSnapshots(in: dataDirectory + "/snapshots")
    } catch {
      guard error.isNotFound else { throw error }
    }
  }

  private mutating func addSnapshots(in directory: String) throws(WALError) {
    for name in try fileSystem.list(directory).sorted()
    where SnapshotDirectory.sequence(name) != nil {
      let path = directory + "/" + name
      places.append(LogPlace(name: path, content: .snapshot(path)))
    }
  }

  /// The log in a directory, and the logs in its directories, one for each origin.
  private mutating func addLogs(
    in directory: String, name: String, dataDirectory: String?, allowsEmpty: Bool = true
  ) throws(WALError) {
    let count = places.count
    for entry in try fileSystem.list(directory).sorted() {
      let path = directory + "/" + entry
      guard !entry.hasSuffix(SegmentName.suffix), try fileSystem.isDirectory(path),
        try !SegmentFile.list(path, in: fileSystem).isEmpty
      else { continue }
      places.append(
        LogPlace(name: path, content: .directory(path), dataDirectory: dataDirectory))
    }
    let hasSegments = try !SegmentFile.list(directory, in: fileSystem).isEmpty
    if hasSegments || (allowsEmpty && places.count == count) {
      places.append(
        LogPlace(name: name, content: .directory(directory), dataDirectory: dataDirectory))
    }
  }

  /// The data directory around a log's directory, `DATA/wal` or `DATA/wal/ORIGIN`.
  private static func dataDirectory(ofLogDirectory real: String) -> String? {
    var path = real
    for _ in 0..<2 {
      let parent = String(path.dropLast(lastComponent(path).count + 1))
      if lastComponent(path) == "wal" { return parent.isEmpty ? "/" : parent }
      path = parent
    }
    return nil
  }

  /// `SEQ-N.wal`, as in `diverged/`.
  private static func isPiece(_ name: String) -> Bool {
    guard name.hasSuffix(SegmentName.suffix) else { return false }
    let parts = name.utf8.dropLast(SegmentName.suffix.utf8.count)
      .split(separator: UInt8(ascii: "-"))
    return parts.count == 2 && parts[0].count == 20
      && parts.allSatisfy { $0.allSatisfy { (0x30...0x39).contains($0) } }
  }

  // MARK: - Files

  private mutating func addFile(_ path: String) throws(WALError) {
    let name = lastComponent(path)
    let bytes = try fileSystem.open(path, .readOnly).bytes(count: Format.segmentHeaderBytes)
    if SnapshotFile.isSnapshot(bytes.span.bytes)
      || name.hasSuffix(SnapshotDirectory.suffix)
    {
      return places.append(LogPlace(name: path, content: .snapshot(path)))
    }
    var header: SegmentHeader?
    var isSegment = Self.isPiece(name) || SegmentName.firstSequence(name) != nil
    do {
      header = try SegmentHeader(parsing: bytes.span.bytes)
    } catch {
      if error.isUnsupported { throw .unsupported(path: path, offset: 0, error) }
      isSegment = isSegment || error != .segmentMagic
    }
    guard isSegment || header != nil else {
      unknown.append(
        "\(path): not a segment of a log, and no snapshot. Name a data directory, a log's directory, "
          + "*.wal or *.snap files")
      return
    }
    let file = SegmentFile(path: path, firstSequence: SegmentName.firstSequence(name))
    if Self.isPiece(name) {
      places.append(LogPlace(name: path, content: .files([file])))
    } else {
      files.append((file, header))
    }
  }

  private func directory(_ path: String) -> Substring {
    path.dropLast(lastComponent(path).count)
  }

  /// The files by log, each log in its order. A file that does not say whose it is goes with those
  /// that are beside it.
  private func groups() -> [LogPlace] {
    var groups: [(key: String, files: [(SegmentFile, UInt64)])] = []
    func key(_ file: (SegmentFile, SegmentHeader?)) -> String {
      if let header = file.1 { return hexadecimal(header.origin) }
      let directory = directory(file.0.path)
      let sibling = files.first { $0.1 != nil && self.directory($0.0.path) == directory }
      return sibling.map { hexadecimal($0.1!.origin) } ?? file.0.path
    }
    for file in files {
      let key = key(file)
      let entry = (file.0, file.0.firstSequence ?? file.1?.firstSequence ?? 0)
      if let index = groups.firstIndex(where: { $0.key == key }) {
        groups[index].files.append(entry)
      } else {
        groups.append((key, [entry]))
      }
    }
    return groups.map { group in
      let sorted = group.files.sorted { $0.1 < $1.1 }.map { $0.0 }
      let first = System.realPath(sorted[0].path)
      let directory = String(first.dropLast(lastComponent(first).count + 1))
      return LogPlace(
        name: sorted.count == 1
          ? sorted[0].path : "\(sorted[0].path) to \(lastComponent(sorted.last!.path))",
        content: .files(sorted), dataDirectory: Self.dataDirectory(ofLogDirectory: directory))
    }
  }
}
