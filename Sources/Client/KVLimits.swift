import NIOCore

/// What a pool holds at most.
public struct KVLimits: Hashable, Sendable {
  /// Open connections to one node.
  public var connectionsPerNodeMax: Int
  /// Requests to one node that wait for a connection. One more is refused at once.
  public var waitingPerNodeMax: Int
  /// A connection that is not used for that long is closed. Shorter than a node's, so that a
  /// connection is rarely closed from the other side at the moment of its use.
  public var idleTimeout: TimeAmount
  /// Bytes of an answer's body.
  public var answerBytesMax: Int
  /// How long a connection may take to be made; nil: until its request's deadline.
  public var connectTimeout: TimeAmount?
  /// What is sent, and what comes, goes on that much later: the latency of a network, for tests.
  package var linkDelay = TimeAmount.zero

  public init(
    connectionsPerNodeMax: Int = 16, waitingPerNodeMax: Int = 1_024,
    idleTimeout: TimeAmount = .seconds(30), answerBytesMax: Int = 32 << 20,
    connectTimeout: TimeAmount? = nil
  ) {
    precondition(connectionsPerNodeMax > 0, "a pool without connections answers nothing")
    self.connectionsPerNodeMax = connectionsPerNodeMax
    self.waitingPerNodeMax = waitingPerNodeMax
    self.idleTimeout = idleTimeout
    self.answerBytesMax = answerBytesMax
    self.connectTimeout = connectTimeout
  }
}
