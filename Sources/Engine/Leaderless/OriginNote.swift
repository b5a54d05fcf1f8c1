import WAL

/// Which log is this node's own, in a leaderless shard: the note `leaderless` of a data directory, a line
/// `ORIGIN ADDRESS CHECK`, the check being the CRC-32C of what is before the last blank.
package struct OriginNote: Hashable, Sendable {
  package static let name = "leaderless"
  private static let bytesMax = 4_096

  /// The id of the log that this node writes.
  package var origin: UInt64
  /// Where the node was when it began that log.
  package var address: String

  package init(origin: UInt64, address: String) {
    self.origin = origin
    self.address = address
  }

  private var text: String { "\(hexadecimal(origin)) \(address)" }

  private static func check(_ text: String) -> String {
    let bytes = Array(text.utf8)
    return hexadecimal(Checksum.unseeded(bytes.span.bytes))
  }

  /// - Throws: `invalidFile` where it is not what `write` makes.
  package static func read(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) -> OriginNote? {
    let note = DurableNote(directory, name, fileSystem: fileSystem)
    guard let bytes = try note.read(bytes: bytesMax) else { return nil }
    let words = String(decoding: bytes, as: UTF8.self).split(
      separator: " ", omittingEmptySubsequences: false)
    guard words.count == 3, words[0].utf8.count == 16, let origin = UInt64(words[0], radix: 16),
      check("\(words[0]) \(words[1])") == words[2]
    else {
      throw .invalidFile(
        path: note.path, offset: 0,
        reason:
          "it does not say which log is this node's own. Remove it: the node begins a new one, "
          + "and loses nothing")
    }
    return OriginNote(origin: origin, address: String(words[1]))
  }

  package func write(in directory: String, fileSystem: any FileSystem) throws(WALError) {
    try DurableNote(directory, Self.name, fileSystem: fileSystem)
      .write("\(text) \(Self.check(text))")
  }

  /// Refuses a directory of a leaderless shard to what reads one log.
  package static func refuse(
    _ directory: String, _ fileSystem: any FileSystem
  ) throws(WALError) {
    guard try DurableNote(directory, name, fileSystem: fileSystem).isThere() else { return }
    throw .setting(
      "\(directory) holds a node of a leaderless shard, which has several logs: this is for one. Its nodes "
        + "make snapshots and heal each other by themselves")
  }

  /// Refuses a directory of a leaderless shard to a node of a shard that has a leader.
  static func refuse(_ options: StoreOptions) throws(WALError) {
    let note = DurableNote(options.dataDirectory, name, fileSystem: options.fileSystem)
    guard try note.isThere() else { return }
    throw .setting(
      "\(options.dataDirectory) holds a node of a leaderless shard, and this one is to have a leader. Start "
        + "it with the configuration that it had, or give this node another --data-dir")
  }
}

/// Where the log with that id is in a data directory.
struct OriginPlaces {
  let log: String
  let diverged: String
  let quarantine: String

  init(_ dataDirectory: String, _ origin: UInt64) {
    let name = hexadecimal(origin)
    log = "\(dataDirectory)/wal/\(name)"
    diverged = "\(dataDirectory)/diverged/\(name)"
    quarantine = "\(dataDirectory)/quarantine/\(name)"
  }

  /// The ids of the logs that there are.
  static func list(
    _ dataDirectory: String, _ fileSystem: any FileSystem
  ) throws(WALError) -> [UInt64] {
    do {
      return try fileSystem.list(dataDirectory + "/wal")
        .compactMap { $0.utf8.count == 16 ? UInt64($0, radix: 16) : nil }
        .sorted()
    } catch {
      guard error.isNotFound else { throw error }
      return []
    }
  }
}
