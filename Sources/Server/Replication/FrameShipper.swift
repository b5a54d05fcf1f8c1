import Engine
import NIOCore
import WAL

/// Copies frames of the log, as they are on the disk, into what is sent to a follower.
package struct FrameShipper: FrameEncoder {
  /// That of the last frame that was copied to its end; before the first, the one that it goes on
  /// from.
  package private(set) var position: LogPosition
  /// What its follower was told of: the highest confirmed number in a header.
  package private(set) var toldConfirmed: UInt64 = 0
  /// Bytes of the next frame that were copied.
  private var written = 0
  package var beginsNothing = false

  package init(behind position: LogPosition) {
    self.position = position
  }

  package var isBetween: Bool { written == 0 }

  package mutating func encode(
    _ header: FrameHeader, _ frame: UnsafeRawBufferPointer, into buffer: inout ByteBuffer,
    bytesMax: Int
  ) -> Bool {
    let room = bytesMax - buffer.readableBytes
    guard room > 0, written > 0 || !beginsNothing else { return false }
    let count = min(room, frame.count - written)
    buffer.writeBytes(UnsafeRawBufferPointer(rebasing: frame[written..<written + count]))
    written += count
    guard written == frame.count else { return false }
    written = 0
    position = header.position
    toldConfirmed = max(toldConfirmed, header.confirmedSequence)
    return true
  }

  /// Writes a heartbeat behind the last frame.
  ///
  /// - Precondition: it is between two frames, and behind one.
  package mutating func writeHeartbeat(
    _ sign: LeaderSign, origin: UInt64, into buffer: inout ByteBuffer
  ) {
    precondition(isBetween)
    let heartbeat = Heartbeat(
      behind: position, durableSequence: sign.durable, confirmedSequence: sign.confirmed,
      timeMilliseconds: sign.timeMilliseconds, content: sign.encodedState)
    buffer.writeBytes(heartbeat.encoded(origin: origin))
    toldConfirmed = max(toldConfirmed, heartbeat.confirmedSequence)
  }
}

/// What a heartbeat tells of its sender.
package struct LeaderSign: Sendable {
  /// On its disk.
  package var durable: UInt64
  /// By the quorum.
  package var confirmed: UInt64
  /// Its wall clock, since 1970.
  package var timeMilliseconds: UInt64
  /// The digest of its state, and the sequence number that it is of.
  package var digest: Digest
  package var digestSequence: UInt64

  package init(
    durable: UInt64, confirmed: UInt64, timeMilliseconds: UInt64, digest: Digest,
    digestSequence: UInt64
  ) {
    self.durable = durable
    self.confirmed = confirmed
    self.timeMilliseconds = timeMilliseconds
    self.digest = digest
    self.digestSequence = digestSequence
  }

  /// A heartbeat's content: both, 8 bytes each.
  package var encodedState: [UInt8] {
    digest.encoded + withUnsafeBytes(of: digestSequence.littleEndian) { Array($0) }
  }
}
