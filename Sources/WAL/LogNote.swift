/// Small files beside the segments that say what the segments cannot.
struct LogNote {
  enum Name: String, CaseIterable {
    /// The log was closed in order; holds its end. Gone before the next write.
    case clean
    /// This node may have acknowledged what it no longer has; stays until a new epoch is durable.
    case epochDue = "epoch-due"
    /// Writes are acknowledged before they are synced.
    case relaxed
    /// The end of the log is being taken off; a `LostTail`. Stays until that is done.
    case rewind
    /// Beside what was taken off, under `diverged/`: what it is.
    case tail
  }

  let directory: String
  let fileSystem: any FileSystem

  private func path(_ name: Name) -> String { directory + "/" + name.rawValue }

  /// Makes the note durable. It appears whole or not at all.
  func write(_ name: Name, _ text: String) throws(WALError) {
    let temporary = path(name) + ".tmp"
    let file = try fileSystem.open(temporary, .createOrOpen)
    // A temporary note that a crash left behind may be longer; a line ends the note.
    try file.writeAll(Array((text + "\n").utf8), at: 0)
    try file.sync()
    try fileSystem.rename(temporary, to: path(name))
    try fileSystem.syncDirectory(directory)
  }

  /// The note's line; nil when there is none.
  func read(_ name: Name) throws(WALError) -> String? {
    do {
      let bytes = try fileSystem.open(path(name), .readOnly).bytes(count: 4 << 10)
      return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
  }

  /// Removes notes, durably.
  func remove(_ names: [Name]) throws(WALError) {
    var isChanged = false
    for name in names {
      do {
        try fileSystem.remove(path(name))
        isChanged = true
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
    if isChanged { try fileSystem.syncDirectory(directory) }
  }
}

/// What the notes beside a log's segments say, for those who only read.
package struct LogNotes: Sendable {
  /// Nil when the log was not closed in order.
  package var clean: CleanStop?
  package var isEpochDue: Bool
  package var isRelaxed: Bool

  package init(
    in directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    let notes = LogNote(directory: directory, fileSystem: fileSystem)
    clean = try notes.read(.clean).flatMap { CleanStop($0) }
    isEpochDue = try notes.read(.epochDue) != nil
    isRelaxed = try notes.read(.relaxed) != nil
  }
}

/// A log's end in the text of a note: `origin epoch-node sequence crc check`, the last being a
/// checksum of the text before it.
package struct CleanStop: Hashable, Sendable {
  package var origin: UInt64
  package var position: LogPosition

  /// What the note in a log's directory says; nil when the log was not closed in order.
  package static func read(
    in directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) -> CleanStop? {
    try LogNote(directory: directory, fileSystem: fileSystem).read(.clean).flatMap { CleanStop($0) }
  }

  /// Writes the note into a directory where no log has been begun behind that position.
  package func write(
    in directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    try LogNote(directory: directory, fileSystem: fileSystem).write(.clean, text)
  }

  package init(origin: UInt64, position: LogPosition) {
    self.origin = origin
    self.position = position
  }

  /// Nil when the text is not of that form; then the stop is not known to have been clean.
  init?(_ text: String) {
    let words = text.split(separator: " ")
    guard words.count == 5, let origin = UInt64(words[0], radix: 16),
      let epoch = Epoch(words[1]), let sequence = UInt64(words[2]),
      let crc = UInt32(words[3], radix: 16)
    else { return nil }
    self.init(origin: origin, position: LogPosition(epoch: epoch, sequence: sequence, crc: crc))
    guard self.text == text else { return nil }
  }

  var text: String {
    let end =
      "\(hexadecimal(origin)) \(position.epoch) \(position.sequence) "
      + hexadecimal(position.crc)
    return "\(end) \(hexadecimal(Checksum.unseeded(Array(end.utf8).span.bytes)))"
  }
}

/// All digits of a number, in hexadecimal.
package func hexadecimal<T: FixedWidthInteger>(_ number: T) -> String {
  let digits = String(number, radix: 16)
  return String(repeating: "0", count: T.bitWidth / 4 - digits.count) + digits
}

extension Epoch: CustomStringConvertible {
  /// `number-node`, the node in 16 hexadecimal digits.
  public var description: String { "\(number)-\(hexadecimal(node))" }

  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, let number = UInt64(parts[0]), let node = UInt64(parts[1], radix: 16)
    else { return nil }
    self.init(number: number, node: node)
  }
}
