/// Which way bytes go over a link: to the node that listens, or to the one that has connected.
enum LinkDirection: Int, CaseIterable, Sendable {
  case toLeader
  case toFollower
}

/// What is wrong with one direction of a link. Offsets count from the moment at which they are set, over
/// all connections together, and hit once.
struct LinkFaults: Sendable {
  /// Bytes that pass before the connection of the next one is cut.
  var cutAfter: Int?
  /// Whether a cut is a reset; in order otherwise.
  var resets = false
  /// Bytes that pass before one that is changed, and its bit.
  var flip: (after: Int, bit: Int)?
  /// Of each connection; nil for no bound.
  var bytesPerSecond: Int?
  /// Of each piece.
  var delayMilliseconds: UInt64 = 0
  /// Nothing is read: the sender's buffers fill up.
  var isStalled = false
  /// Everything is taken and thrown away, ends of connections too: nobody is told.
  var isSwallowing = false

  private(set) var passedBytes = 0
  private(set) var cuts = 0
  private(set) var flips = 0

  /// Everything is well again.
  mutating func heal() {
    var healed = LinkFaults()
    (healed.passedBytes, healed.cuts, healed.flips) = (passedBytes, cuts, flips)
    self = healed
  }

  /// Does to a piece what is to be done.
  ///
  /// - Returns: true when the connection ends behind what is left of it.
  mutating func pass(_ piece: inout [UInt8]) -> Bool {
    guard !isSwallowing else {
      piece.removeAll()
      return false
    }
    var isCut = false
    if let after = cutAfter {
      isCut = after < piece.count
      cutAfter = isCut ? nil : after - piece.count
      if isCut {
        piece.removeLast(piece.count - after)
        cuts += 1
      }
    }
    if let (after, bit) = flip {
      if after < piece.count {
        piece[after] ^= 1 << UInt8(bit)
        flip = nil
        flips += 1
      } else {
        flip = (after - piece.count, bit)
      }
    }
    passedBytes += piece.count
    return isCut
  }
}
