/// Chooses keys by number, from 0.
package struct KeyChoice: Sendable {
  private let distribution: BenchParameters.Distribution
  private let keys: UInt64
  private var numbers: ZipfianNumbers

  /// - Parameter keys: how many there are at the beginning, 1 at least.
  package init(_ distribution: BenchParameters.Distribution, keys: UInt64) {
    self.distribution = distribution
    self.keys = keys
    switch distribution {
    case .uniform: numbers = ZipfianNumbers(count: 1)
    // YCSB draws from that many, whose zeta it knows, and scatters them over the keys.
    case .zipfian: numbers = ZipfianNumbers(count: 10_000_000_000, zeta: 26.46902820178302)
    case .latest: numbers = ZipfianNumbers(count: keys)
    }
  }

  /// - Parameter present: how many keys there are by now, at least as many as at the beginning.
  package mutating func next(present: UInt64, _ random: inout RandomSource) -> UInt64 {
    switch distribution {
    case .uniform: return random.below(present)
    // Those that came later are not among them: that would scatter all anew.
    case .zipfian: return Self.scattered(numbers.next(&random)) % keys
    case .latest:
      numbers.grow(to: present)
      return present - 1 - numbers.next(&random)
    }
  }

  /// YCSB's hash: FNV-1a over the eight bytes, the lowest first, as a positive number.
  package static func scattered(_ number: UInt64) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    var rest = number
    for _ in 0..<8 {
      hash = (hash ^ (rest & 0xff)) &* 1_099_511_628_211
      rest >>= 8
    }
    return Int64(bitPattern: hash).magnitude
  }
}
