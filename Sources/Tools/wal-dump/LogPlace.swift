import WAL

/// One log to read, and where it is.
struct LogPlace {
  enum Content {
    /// Segments named by their sequence numbers; more may appear.
    case directory(String)
    case files([SegmentFile])
    case snapshot(String)
    case standardInput
  }

  /// As the user named it, as far as that goes.
  var name: String
  var content: Content
  /// Where `LOCK` and `snapshots/` are, when that is known.
  var dataDirectory: String?

  static let standardInputName = "standard input"

  /// True when a process holds the data directory.
  ///
  /// It asks for a shared lock, which is given back at once, so it is only to be called when the
  /// answer matters: a node that started in this very moment would be refused its directory.
  func isInUse() throws(DumpError) -> Bool {
    guard let dataDirectory else { return false }
    do {
      let file = try SystemFileSystem().open(dataDirectory + "/LOCK", .readOnly)
      guard try file.tryLock(exclusive: false) else { return true }
      try file.unlock()
      return false
    } catch {
      guard error.isNotFound else { throw .log(error) }
      return false
    }
  }

  /// Its segments, in order.
  func segments() throws(WALError) -> [SegmentFile] {
    switch content {
    case .directory(let directory): try SegmentFile.list(directory, in: SystemFileSystem())
    case .files(let files): files
    case .standardInput, .snapshot: []
    }
  }
}
