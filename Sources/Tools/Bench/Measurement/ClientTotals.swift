/// What one client has done of one kind: exact, and small.
package struct ClientTotals: Sendable, Equatable {
  package private(set) var count: UInt64 = 0
  package private(set) var sum: UInt64 = 0
  package private(set) var minimum: UInt64 = 0
  package private(set) var maximum: UInt64 = 0

  package init() {}

  package mutating func record(_ nanoseconds: UInt64) {
    minimum = count == 0 ? nanoseconds : min(minimum, nanoseconds)
    maximum = max(maximum, nanoseconds)
    count += 1
    sum &+= nanoseconds
  }

  package var mean: UInt64 { count > 0 ? sum / count : 0 }
}
