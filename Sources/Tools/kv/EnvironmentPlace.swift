import ArgumentParser
import Client
import Server
import Sharding

/// What the environment says of a node's shard: `NODE_TYPE` and `FOLLOWER_URLS`.
enum EnvironmentPlace {
  /// Leads, and tells these nodes that they follow. None: it is alone.
  case leader(followers: [NodeAddress])
  /// Follows whoever announces itself.
  case follower

  /// What it reads.
  static let variables = ["NODE_TYPE", "FOLLOWER_URLS"]

  /// Nil where the environment says nothing.
  ///
  /// - Throws: `ValidationError` that names the variable.
  init?(_ environment: [String: String]) throws {
    let followers = try Self.followers(environment["FOLLOWER_URLS"] ?? "")
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

  private static func followers(_ text: String) throws -> [NodeAddress] {
    guard !text.isEmpty else { return [] }
    return try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
      do {
        let address = word.trimmingBlanks
        let isURL = address.contains("://")
        return try NodeAddress(
          parsing: !isURL && address.hasSuffix("/") ? String(address.dropLast()) : address)
      } catch {
        throw ValidationError("FOLLOWER_URLS: \(error)")
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
