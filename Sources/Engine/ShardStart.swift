import WAL

/// Where a directory's history was when it was first started as the shard that it is now.
///
/// Up to that point it may be the history of other directories, too, which became the other shards: of
/// those that were copied, or made by a split. Whoever can show that this point is in its history has had
/// every key that was here then.
package struct ShardStart: Hashable, Sendable {
  /// Of which shard there may be keys: what it was before, until those of others are gone.
  package var heldIndex: UInt32
  package var heldCount: UInt32
  /// Behind the last record from before.
  package var point: LogBase

  package init(heldIndex: UInt32, heldCount: UInt32, point: LogBase) {
    self.heldIndex = heldIndex
    self.heldCount = heldCount
    self.point = point
  }

  // MARK: - In the note

  /// `from INDEX of COUNT at ORIGIN EPOCH SEQUENCE CRC`.
  var text: String {
    let position = point.position
    return "from \(heldIndex) of \(heldCount) at \(hexadecimal(point.origin)) "
      + "\(position.epoch.number)-\(hexadecimal(position.epoch.node)) \(position.sequence) "
      + hexadecimal(position.crc)
  }

  /// The words of `text`; nil where they are not. The note's checksum says that nothing else is there.
  init?(_ words: ArraySlice<Substring>) {
    let words = Array(words)
    guard words.count == 9, words[0] == "from", words[2] == "of", words[4] == "at",
      let index = UInt32(words[1]), let count = UInt32(words[3]), index < count,
      let origin = UInt64(words[5], radix: 16), let sequence = UInt64(words[7]),
      (1..<Format.sequenceLimit).contains(sequence), let crc = UInt32(words[8], radix: 16)
    else { return nil }
    let epoch = words[6].split(separator: "-", omittingEmptySubsequences: false)
    guard epoch.count == 2, let number = UInt64(epoch[0]), number < Format.sequenceLimit,
      let node = UInt64(epoch[1], radix: 16)
    else { return nil }
    self.init(
      heldIndex: index, heldCount: count,
      point: LogBase(
        origin: origin,
        position: LogPosition(
          epoch: Epoch(number: number, node: node), sequence: sequence, crc: crc)))
  }
}
