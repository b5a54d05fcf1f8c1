#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Numbers from 0 of which n comes with a probability in proportion to 1 / (n + 1)^0.99.
///
/// The algorithm is that of Gray et al., "Quickly Generating Billion-Record Synthetic Databases",
/// SIGMOD 1994, as YCSB has it (`ZipfianGenerator`).
package struct ZipfianNumbers: Sendable {
  /// YCSB's skew.
  package static let theta = 0.99

  package private(set) var count: UInt64
  private var zeta: Double
  private var eta = 0.0
  private let alpha = 1 / (1 - ZipfianNumbers.theta)
  private let second = 1 + pow(0.5, ZipfianNumbers.theta)

  /// - Complexity: O(count).
  package init(count: UInt64) {
    self.init(count: count, zeta: Self.zeta(from: 0, to: count, 0))
  }

  /// - Parameter zeta: the sum of 1 / i^0.99 for i from 1 to `count`, which is above 0.
  package init(count: UInt64, zeta: Double) {
    self.count = count
    self.zeta = zeta
    setEta()
  }

  /// Takes more numbers in.
  ///
  /// - Complexity: O(those that are added).
  package mutating func grow(to count: UInt64) {
    guard count > self.count else { return }
    zeta = Self.zeta(from: self.count, to: count, zeta)
    self.count = count
    setEta()
  }

  package mutating func next(_ random: inout RandomSource) -> UInt64 {
    let unit = random.unit()
    let place = unit * zeta
    if place < 1 { return 0 }
    if place < second { return min(1, count - 1) }
    return min(count - 1, UInt64(Double(count) * pow(eta * unit - eta + 1, alpha)))
  }

  private mutating func setEta() {
    eta = (1 - pow(2 / Double(count), 1 - Self.theta)) / (1 - second / zeta)
  }

  private static func zeta(from start: UInt64, to end: UInt64, _ sum: Double) -> Double {
    var sum = sum
    var number = start
    while number < end {
      number += 1
      sum += 1 / pow(Double(number), theta)
    }
    return sum
  }
}
