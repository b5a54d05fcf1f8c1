import ArgumentParser
import Client
import Server
import Sharding

/// What the environment says of a node's shard: `NODE_TYPE` and `FOLLOWER_URLS`, or `PEER_URLS`.
enum EnvironmentPlace {
  /// Leads, and tells these nodes that they follow. None: it is alone.
  case leader(followers: [NodeAddress])
  /// Follows whoever announces itself.
  case follower
  /// One of equals, and these are the others.
  case leaderless(peers: [NodeAddress])

  /// What it reads.
  static let variables = ["NODE_TYPE", "FOLLOWER_URLS", "PEER_URLS"]

  /// Nil where the environment says nothing.
  ///
  /// - Throws: `ValidationError` that names the variable.
  init?(_ environment: [String: String]) throws {
    let peers = try Self.addresses("PEER_URLS", environment["PEER_URLS"] ?? "")
    let followers = try Self.addresses("FOLLOWER_URLS", environment["FOLLOWER_URLS"] ?? "")
    guard peers.isEmpty else {
      guard followers.isEmpty, environment["NODE_TYPE"] == nil else {
        throw ValidationError(
          "PEER_URLS is for a shard without a leader: leave NODE_TYPE and FOLLOWER_URLS out, or PEER_URLS"
        )
      }
      self = .leaderless(peers: peers)
      return
    }
    switch environment["NODE_TYPE"] {
    case "leader"?:
      self = .leader(followers: followers)
    case let type where !followers.isEmpty:
      throw ValidationError(
        "FOLLOWER_URLS is what a leader has: NODE_TYPE must be leader, and is "
          + (type.map { "\"\($0)\"" } ?? "not set"))
    case "follower"?:
      self = .follower
    case nil:
      return nil
    case let type?:
      throw ValidationError("NODE_TYPE must be leader or follower, not \"\(type)\"")
    }
  }

  private static func addresses(_ name: String, _ text: String) throws -> [NodeAddress] {
    guard !text.isEmpty else { return [] }
    return try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
      do {
        let address = word.trimmingBlanks
        let isURL = address.contains("://")
        return try NodeAddress(
          parsing: !isURL && address.hasSuffix("/") ? String(address.dropLast()) : address)
      } catch {
        throw ValidationError("\(name): \(error)")
      }
    }
  }
}

extension Substring {
  fileprivate var trimmingBlanks: String {
    var rest = self
    while rest.first == " " { rest.removeFirst() }
    while rest.last == " " { rest.removeLast() }
    return String(rest)
  }
}
