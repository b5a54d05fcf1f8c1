import WAL

/// What a data directory has lost to other histories, and keeps under `diverged/`.
public struct SavedTails: Sendable {
  /// One of them.
  public struct Place: Hashable, Sendable {
    public var tail: LostTail
    /// Where its segments are.
    public var directory: String

    public var name: String { tail.name }
  }

  private let path: String
  private let fileSystem: any FileSystem

  public init(_ dataDirectory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    path = dataDirectory + "/diverged"
    self.fileSystem = fileSystem
  }

  /// The tails, oldest fork first, and the directories that nothing says the fork of: copies that were
  /// put away as a whole.
  public func list() throws(WALError) -> (tails: [Place], others: [String]) {
    var tails: [Place] = []
    var others: [String] = []
    for name in try names() {
      let directory = "\(path)/\(name)"
      guard !name.hasSuffix(SegmentName.suffix), try fileSystem.isDirectory(directory) else {
        continue
      }
      guard var tail = try LostTail.read(in: directory, fileSystem: fileSystem) else {
        others.append(name)
        continue
      }
      tail.name = name
      let isCopy = try fileSystem.list(directory).contains("wal")
      tails.append(Place(tail: tail, directory: isCopy ? directory + "/wal" : directory))
    }
    tails.sort {
      ($0.tail.fork.sequence, $0.tail.fork.epoch, $0.name)
        < ($1.tail.fork.sequence, $1.tail.fork.epoch, $1.name)
    }
    return (tails, others.sorted())
  }

  private func names() throws(WALError) -> [String] {
    do {
      return try fileSystem.list(path)
    } catch {
      guard error.isNotFound else { throw error }
      return []
    }
  }

  /// The writes of a tail.
  ///
  /// - Returns: nil when there is none of that name.
  /// - Throws: `damaged`, or that of a system call.
  public func page(
    of name: String, from: UInt64, limits: WritePage.Limits
  ) throws(WALError) -> WritePage? {
    guard let place = try list().tails.first(where: { $0.name == name }) else { return nil }
    let first = try SegmentFile.list(place.directory, in: fileSystem).first?.firstSequence
    return try WritePage.read(
      place.directory, from: max(from, place.tail.firstSequence, first ?? 0),
      through: place.tail.lastSequence, limits: limits, fileSystem: fileSystem)
  }

  /// How many tails there are, and how many puts and deletes they hold.
  public struct Totals: Hashable, Sendable {
    public var tails = 0
    public var records: UInt64 = 0
  }

  public func totals() throws(WALError) -> Totals {
    let tails = try list().tails
    return Totals(tails: tails.count, records: tails.reduce(0) { $0 + $1.tail.writes })
  }
}
