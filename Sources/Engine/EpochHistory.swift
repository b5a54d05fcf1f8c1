import Synchronization
import WAL

/// Which epoch a sequence number belongs to, over the whole life of a log.
public final class EpochHistory: Sendable {
  public struct Start: Hashable, Sendable {
    public var epoch: Epoch
    /// The first sequence number of it.
    public var firstSequence: UInt64

    public init(epoch: Epoch, firstSequence: UInt64) {
      self.epoch = epoch
      self.firstSequence = firstSequence
    }
  }

  // Ascending in both.
  private let starts = Mutex<[Start]>([])

  public init() {}

  /// All epochs, oldest first.
  public var all: [Start] { starts.withLock { $0 } }

  /// The newest; nil in a log without a record.
  public var last: Start? { starts.withLock { $0.last } }

  /// The epoch in which that record was written.
  public func epoch(of sequence: UInt64) -> Epoch? {
    starts.withLock { starts in
      // The newest first: that is where most are asked for.
      var index = starts.count - 1
      while index >= 0, starts[index].firstSequence > sequence { index -= 1 }
      return index < 0 ? nil : starts[index].epoch
    }
  }

  /// Whether somebody who has followed the history of that epoch up to a sequence number has what this
  /// history has up to there.
  public func agrees(with epoch: Epoch, through sequence: UInt64) -> Bool {
    starts.withLock { starts in
      guard let index = starts.firstIndex(where: { $0.epoch == epoch }) else { return false }
      // What that epoch has from where this history left it was lost.
      return index + 1 == starts.count || sequence < starts[index + 1].firstSequence
    }
  }

  /// Whether no epoch has begun behind that point: two logs that were one up to there are not told apart
  /// until one has.
  package func isUndivided(since point: LogPosition) -> Bool {
    last.map { $0.firstSequence <= point.sequence } ?? true
  }

  package func begin(_ epoch: Epoch, at firstSequence: UInt64) {
    starts.withLock { starts in
      precondition(starts.last.map { $0.epoch < epoch && $0.firstSequence < firstSequence } ?? true)
      starts.append(Start(epoch: epoch, firstSequence: firstSequence))
    }
  }
}
