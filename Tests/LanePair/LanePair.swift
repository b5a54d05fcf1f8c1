import Server

/// Two equal nodes, one with the fast lane and one without, that are asked the same.
public final class LanePair {
  /// They answered differently, or it left them different.
  public struct Difference: Error, CustomStringConvertible {
    public let description: String
  }

  public let fast: DrivenNode
  public let standard: DrivenNode

  /// Low limits, so that what happens at them does happen.
  public static var lowLimits: Limits {
    var limits = Limits()
    limits.pendingWritesMax = 3
    limits.outputBytesMax = 2_000
    limits.keyBytesMax = 200
    limits.batchOperationsMax = 10
    limits.targetBytesMax = 20_000
    limits.valueBytesMax = 40_000
    return limits
  }

  /// - Parameter parent: a directory for the nodes' own.
  public init(in parent: String, limits: Limits = lowLimits) throws {
    fast = try DrivenNode(in: parent, limits: limits)
    standard = try DrivenNode(in: parent, limits: limits)
  }

  /// Runs the exchange on a new connection of each node.
  ///
  /// - Returns: what came of it.
  /// - Throws: `Difference`.
  @discardableResult
  public func compare(_ exchange: Exchange) throws -> Outcome {
    for node in [fast, standard] { node.advance(milliseconds: exchange.pauseMilliseconds) }
    let quick = try fast.run(exchange, usesFastLane: true)
    let slow = try standard.run(exchange, usesFastLane: false)
    guard quick == slow else {
      throw Difference(
        description: """
          --- with the fast lane, \(quick.isClosed ? "closed" : "open"):
          \(quick.text)
          --- without, \(slow.isClosed ? "closed" : "open"):
          \(slow.text)
          """)
    }
    guard fast.sequence == standard.sequence else {
      throw Difference(description: "written: \(fast.sequence), \(standard.sequence)")
    }
    return quick
  }

  /// - Throws: `Difference` where logs or indexes differ.
  public func compareStates() throws {
    let states = (try fast.state(), try standard.state())
    guard states.0 != states.1 else { return }
    throw Difference(description: "states: \(states.0)\n\(states.1)")
  }

  public func close() throws {
    try fast.close()
    try standard.close()
  }
}
