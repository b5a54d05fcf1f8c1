/// What was answered when: counts for each interval since the measurement began.
///
/// There are never more intervals than a bound: when time goes beyond, each two become one.
package struct Timeline: Sendable {
  package struct Point: Sendable, Equatable {
    package var reads: UInt64 = 0
    package var writes: UInt64 = 0
    package var failures: UInt64 = 0
    /// Of all answers, in nanoseconds.
    package var latencyMax: UInt64 = 0

    package init() {}

    mutating func add(_ other: Point) {
      reads += other.reads
      writes += other.writes
      failures += other.failures
      latencyMax = max(latencyMax, other.latencyMax)
    }
  }

  package enum Kind: Sendable {
    case read
    case write
    case failure
  }

  package static let pointsMax = 1_200

  package private(set) var intervalNanoseconds: UInt64
  package private(set) var points: [Point] = []

  package init(intervalNanoseconds: UInt64 = 100_000_000) {
    self.intervalNanoseconds = intervalNanoseconds
    points.reserveCapacity(Self.pointsMax)
  }

  /// - Parameter time: nanoseconds since the measurement began.
  package mutating func record(_ kind: Kind, at time: UInt64, latency: UInt64) {
    while time / intervalNanoseconds >= UInt64(Self.pointsMax) { fold() }
    let index = Int(time / intervalNanoseconds)
    while points.count <= index { points.append(Point()) }
    switch kind {
    case .read: points[index].reads += 1
    case .write: points[index].writes += 1
    case .failure: points[index].failures += 1
    }
    points[index].latencyMax = max(points[index].latencyMax, latency)
  }

  /// Adds one that began at the same time.
  package mutating func add(_ other: Timeline) {
    var other = other
    while intervalNanoseconds < other.intervalNanoseconds { fold() }
    while other.intervalNanoseconds < intervalNanoseconds { other.fold() }
    while points.count < other.points.count { points.append(Point()) }
    for index in other.points.indices { points[index].add(other.points[index]) }
  }

  private mutating func fold() {
    intervalNanoseconds *= 2
    let pairs = stride(from: 0, to: points.count, by: 2)
    for (target, first) in pairs.enumerated() {
      var point = points[first]
      if first + 1 < points.count { point.add(points[first + 1]) }
      points[target] = point
    }
    points.removeLast(points.count / 2)
  }
}
