/// The 24 bytes behind the last frame of a segment that say that this is its end.
///
/// They go to the disk with the frame, in one write, and the next frame is written over them. So what
/// is behind them means nothing, and a segment can be used again as it is: without them a reader
/// could not tell the rest of a frame that was torn, or lost its header, from what an earlier life of
/// the file left there. `docs/format.md` has the offsets.
package struct EndMarker: Hashable {
  /// The sequence number that comes next.
  package var nextSequence: UInt64
  /// Header crc of the last frame.
  package var previousCRC: UInt32

  /// The end of a log, or of a part of it, at that position.
  package init(_ position: LogPosition) {
    nextSequence = position.sequence + 1
    previousCRC = position.crc
  }

  /// - Returns: nil when the first 24 bytes are not a whole marker of that log.
  package init?(parsing bytes: RawSpan, checksum: Checksum) {
    guard bytes.byteCount >= Format.endMarkerBytes,
      bytes.number(at: 0, as: UInt64.self) == Format.endMagic,
      checksum(bytes.extracting(0..<20)) == bytes.number(at: 20, as: UInt32.self)
    else { return nil }
    nextSequence = bytes.number(at: 8, as: UInt64.self)
    previousCRC = bytes.number(at: 16, as: UInt32.self)
  }

  /// Writes it at the start of `bytes`.
  func store(in bytes: UnsafeMutableRawBufferPointer, checksum: Checksum) {
    bytes.store(Format.endMagic, at: 0)
    bytes.store(nextSequence, at: 8)
    bytes.store(previousCRC, at: 16)
    bytes.store(checksum(UnsafeRawBufferPointer(bytes).bytes.extracting(0..<20)), at: 20)
  }

  package func encoded(_ checksum: Checksum) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Format.endMarkerBytes)
    bytes.withUnsafeMutableBytes { store(in: $0, checksum: checksum) }
    return bytes
  }
}
