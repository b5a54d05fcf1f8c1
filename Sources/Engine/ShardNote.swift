import Sharding
import WAL

/// Which shard's keys a data directory holds, in a small file of it, `shard`.
///
/// One line, `INDEX of COUNT HASH CHECK`: the last is a checksum of the text before it. Where it held more
/// once, that and the point at which it became this shard stand in front of the checksum.
package struct ShardNote: Hashable, Sendable {
  package static let fileName = "shard"

  package var index: UInt32
  package var count: UInt32
  package var hash: ShardHash
  /// Nil where it has been this shard from its first record on.
  package var start: ShardStart?

  package init(index: UInt32, count: UInt32, hash: ShardHash, start: ShardStart? = nil) {
    self.index = index
    self.count = count
    self.hash = hash
    self.start = start
  }

  /// Whether what is held here has every key of another shard: of one that is cut out of this one by
  /// multiplying the number of shards, or of this one itself.
  package func covers(_ other: ShardNote) -> Bool {
    hash == other.hash && other.count.isMultiple(of: count) && other.index % count == index
  }

  /// Whether both are the same keys.
  package func isShard(_ other: ShardNote) -> Bool {
    (index, count, hash) == (other.index, other.count, other.hash)
  }

  // MARK: - The file

  /// What the note in a data directory says; nil when there is none.
  ///
  /// - Throws: `invalidFile` for a note that is not whole; that of a system call.
  package static func read(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) -> ShardNote? {
    let file = DurableNote(directory, fileName, fileSystem: fileSystem)
    guard let line = try file.read(bytes: 4 << 10) else { return nil }
    guard let note = ShardNote(String(decoding: line, as: UTF8.self)) else {
      throw .invalidFile(
        path: file.path, offset: 0,
        reason: "damaged: it does not say which shard this directory holds. Restore the file, or "
          + "remove it if the configuration is the one that the directory was made with")
    }
    return note
  }

  /// Makes the note durable in a data directory. It appears whole or not at all.
  package func write(in directory: String, fileSystem: any FileSystem) throws(WALError) {
    try DurableNote(directory, Self.fileName, fileSystem: fileSystem).write(text)
  }

  package var text: String {
    var said = "\(index) of \(count) \(hash.name)"
    if let start { said += " \(start.text)" }
    let bytes = Array(said.utf8)
    return "\(said) \(hexadecimal(Checksum.unseeded(bytes.span.bytes)))"
  }

  /// Nil when the text is not of that form.
  package init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count >= 5, let index = UInt32(words[0]), let count = UInt32(words[2]),
      index < count, let hash = ShardHash(name: String(words[3]))
    else { return nil }
    self.init(index: index, count: count, hash: hash)
    if words.count > 5 {
      guard let start = ShardStart(words[4..<words.count - 1]) else { return nil }
      self.start = start
    }
    guard self.text == text else { return nil }
  }
}

extension ShardNote: CustomStringConvertible {
  package var description: String { "shard \(index) of \(count) (\(hash.name))" }
}
