import Client
import NIOCore

extension Configuration {
  /// Of the connections that this node makes to others.
  var linkDelay: TimeAmount { .milliseconds(Int64(peerDelayMilliseconds)) }
}

extension KVPool {
  /// Of connections of a node to others.
  static func ofNode(connectionsPerNodeMax: Int, _ linkDelay: TimeAmount) -> KVPool {
    var limits = KVLimits(connectionsPerNodeMax: connectionsPerNodeMax)
    limits.linkDelay = linkDelay
    return KVPool(limits: limits)
  }
}
