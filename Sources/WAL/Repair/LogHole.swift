/// Frames that a log should have and does not: damaged, or gone.
package struct LogHole: Hashable, Sendable {
  /// The frame before it, as a position; nil where nothing in front of it can be read.
  package var after: LogPosition?
  /// The first sequence number that is missing.
  package var first: UInt64
  /// The last one, and the header crc of the frame that ends there, which what is behind the hole
  /// names. Nil where nothing says how far the log went.
  package var end: End?
  /// What was found there first.
  package var damage: Damage

  package struct End: Hashable, Sendable {
    package var sequence: UInt64
    package var crc: UInt32
  }
}

/// Somebody who may have the frames of a hole: another node.
package protocol FrameSource: Sendable {
  /// What it is called in messages.
  var name: String { get }

  /// Delivers frames of a log, in order, as they are on the disk.
  ///
  /// - Parameters:
  ///   - check: called now and then; what it throws ends the reading.
  ///   - take: gets a whole frame for the time of the call; false when no more are wanted.
  /// - Throws: what `check` and `take` throw. What is wrong with the source is no error.
  func read(
    _ request: FrameRequest, check: () throws(WALError) -> Void,
    _ take: (RawSpan) throws(WALError) -> Bool
  ) throws(WALError) -> FrameDelivery
}

/// What is asked of a source.
package struct FrameRequest: Hashable, Sendable {
  package var origin: UInt64
  /// The first sequence number; a frame begins with it.
  package var from: UInt64
  /// The frame before that, which has to be one of the source's history; nil where it is not known.
  package var after: LogPosition?
}

/// How a source's delivery ended.
package enum FrameDelivery: Hashable, Sendable {
  /// As it was told.
  case enough
  /// It has no more.
  case end
  /// It has not got them, has another history, cannot be reached: why.
  case refused(String)
}
