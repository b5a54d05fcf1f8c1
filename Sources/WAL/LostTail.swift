/// The end of a log that another history has replaced: everything behind the last frame that both have.
///
/// As text it is a note, one line: `origin epoch-node sequence crc last writes name check`. The first
/// four are the last common frame, the check is the CRC-32C of what precedes it.
public struct LostTail: Hashable, Sendable {
  /// The log's id.
  public var origin: UInt64
  /// The end of the last frame that both histories have.
  public var fork: LogPosition
  /// The last sequence number that was lost.
  public var lastSequence: UInt64
  /// How many of the lost records are puts or deletes.
  public var writes: UInt64
  /// Its directory, under `diverged/`.
  public var name: String

  public init(
    origin: UInt64, fork: LogPosition, lastSequence: UInt64, writes: UInt64, name: String
  ) {
    self.origin = origin
    self.fork = fork
    self.lastSequence = lastSequence
    self.writes = writes
    self.name = name
  }

  /// The first sequence number that was lost.
  public var firstSequence: UInt64 { fork.sequence + 1 }

  /// Nil when the text is not of that form.
  package init?(_ text: String) {
    let words = text.split(separator: " ")
    guard words.count == 8, let origin = UInt64(words[0], radix: 16),
      let epoch = Epoch(words[1]), let sequence = UInt64(words[2]),
      let crc = UInt32(words[3], radix: 16), let last = UInt64(words[4]),
      let writes = UInt64(words[5])
    else { return nil }
    self.init(
      origin: origin, fork: LogPosition(epoch: epoch, sequence: sequence, crc: crc),
      lastSequence: last, writes: writes, name: String(words[6]))
    guard self.text == text else { return nil }
  }

  package var text: String {
    let said =
      "\(hexadecimal(origin)) \(fork.epoch) \(fork.sequence) \(hexadecimal(fork.crc)) "
      + "\(lastSequence) \(writes) \(name)"
    return "\(said) \(hexadecimal(Checksum.unseeded(Array(said.utf8).span.bytes)))"
  }

  /// What the note in a directory under `diverged/` says; nil when there is none that can be read.
  package static func read(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) -> LostTail? {
    try LogNote(directory: directory, fileSystem: fileSystem).read(.tail).flatMap { LostTail($0) }
  }

  /// Writes the note into a directory that has been put under `diverged/` as a whole.
  package func write(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) {
    try LogNote(directory: directory, fileSystem: fileSystem).write(.tail, text)
  }
}
