import NIOCore

/// Pauses between attempts: each about twice as long as the one before, scattered so that clients that failed
/// together do not come back together.
package struct Backoff: Sendable {
  package static let first = TimeAmount.milliseconds(25)
  package static let most = TimeAmount.seconds(1)

  private var next = first

  package init() {}

  /// - Parameters:
  ///   - random: from 0 to 1.
  ///   - most: what the node asks for: never longer than that.
  package mutating func pause(random: Double, most asked: TimeAmount = most) -> TimeAmount {
    let pause = min(next, asked)
    next = min(Self.most, next + next)
    // From half of it to all of it.
    return .nanoseconds(Int64(Double(pause.nanoseconds) * (0.5 + random / 2)))
  }
}
