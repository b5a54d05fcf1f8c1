import NIOCore

/// Whether a node could be reached of late.
package struct NodeHealth: Hashable, Sendable {
  private static let first = TimeAmount.milliseconds(100)
  private static let most = TimeAmount.seconds(2)

  private var failures = 0
  /// Until then others are asked, where there are others.
  private(set) var avoidedUntil = NIODeadline.uptimeNanoseconds(0)

  package init() {}

  package func isAvoided(_ now: NIODeadline) -> Bool { now < avoidedUntil }

  package mutating func failed(_ now: NIODeadline) {
    let pause = Self.first.nanoseconds << min(failures, 10)
    avoidedUntil = now + .nanoseconds(min(pause, Self.most.nanoseconds))
    failures += 1
  }
}
