import Glibc
import LanePair

/// One run: a connection's bytes, to a node with the fast lane and to one without. Neither may trap,
/// read outside of its bytes, or stall, and both must say and do the same.
///
/// An input begins with a byte that holds whether the client ends its output (bit 0) and the number
/// of cuts (bits 1–3), a byte for the schedule, and two bytes for each cut; the stream is the rest.
struct HTTPFuzzer {
  /// Runs that one pair of nodes serves, so that a find needs few others before it.
  private static let runsPerPair = 64

  private let parent: String
  private var pair: LanePair?
  /// What this pair has been asked.
  private var history: [Exchange] = []

  /// - Parameter parent: a directory for the nodes' own.
  init(in parent: String) {
    self.parent = parent
  }

  mutating func run(_ input: [UInt8]) {
    guard let exchange = Self.exchange(input) else { return }
    do {
      try compare(exchange)
    } catch {
      for before in history { Self.show(before) }
      fflush(nil)
      fatalError("\(error)\nafter the connections above, each on the same two nodes")
    }
  }

  private mutating func compare(_ exchange: Exchange) throws {
    let pair = try pair ?? LanePair(in: parent)
    self.pair = pair
    history.append(exchange)
    try pair.compare(exchange)
    guard history.count == Self.runsPerPair else { return }
    try pair.compareStates()
    try pair.close()
    self.pair = nil
    history = []
  }

  private static func exchange(_ input: [UInt8]) -> Exchange? {
    guard input.count >= 2 else { return nil }
    let cutCount = Int(input[0] >> 1 & 7)
    let start = 2 + 2 * cutCount
    guard input.count > start else { return nil }
    let bytes = Array(input[start...])
    let cuts = (0..<cutCount).map { index in
      (Int(input[2 + 2 * index]) << 8 | Int(input[3 + 2 * index])) % (bytes.count + 1)
    }
    return Exchange(
      bytes, cuts: cuts, endsInput: input[0] & 1 == 1, schedule: UInt64(input[1]))
  }

  private static func show(_ exchange: Exchange) {
    let text = String(decoding: exchange.bytes, as: UTF8.self).debugDescription
    print(
      "cuts \(exchange.cuts), schedule \(exchange.schedule), ended \(exchange.endsInput): \(text)")
  }
}
