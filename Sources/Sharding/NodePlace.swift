/// Which node of a configuration a process is.
public struct NodePlace: Hashable, Sendable {
  public enum Role: Hashable, Sendable {
    case leader
    /// A replica, or one of equals when leaderless.
    case replica
  }

  public var shard: ShardMap.Shard
  public var role: Role
  public var address: String
  /// False for one more replica, which counts towards no quorum.
  public var isListed: Bool
}

extension ShardMap {
  /// Finds a node by its address, by the name of its shard, or by both.
  ///
  /// - Parameters:
  ///   - address: where it listens, as `host:port`; nil when it was not told.
  ///   - name: of its shard; nil when it was not told.
  ///   - isReplica: whether it was told to be a replica. One at an address that is not listed is one more.
  public func place(
    address: String?, shard name: String?, isReplica: Bool
  ) throws(ShardMapError) -> NodePlace {
    var named: Shard?
    if let name { named = try shard(named: name) }
    guard let address = address ?? onlyAddress(of: named, isReplica) else {
      throw ShardMapError(file: file, .addressMissing(addresses: named?.nodes ?? addresses))
    }
    guard let listed = place(address) else {
      guard let named, isReplica else {
        throw ShardMapError(
          file: file, .addressNotFound(address, addresses: named?.nodes ?? addresses))
      }
      return NodePlace(shard: named, role: .replica, address: address, isListed: false)
    }
    func refusal(_ text: String) -> ShardMapError {
      ShardMapError(file: file, place: "shards", .contradiction("\(address) is \(text)"))
    }
    if let named, named.index != listed.shard.index {
      throw refusal("a node of \(quoted(listed.shard.name)), not of \(quoted(named.name))")
    }
    if isReplica, listed.role == .leader {
      throw refusal("the leader of \(quoted(listed.shard.name)): leave --replica out")
    }
    return listed
  }

  private func place(_ address: String) -> NodePlace? {
    for shard in shards where shard.nodes.contains(address) {
      let role = shard.leader == address ? NodePlace.Role.leader : .replica
      return NodePlace(shard: shard, role: role, address: address, isListed: true)
    }
    return nil
  }

  /// The address where nothing else is possible.
  private func onlyAddress(of shard: Shard?, _ isReplica: Bool) -> String? {
    var nodes = shard?.nodes ?? addresses
    if let shard, let leader = shard.leader {
      nodes = isReplica ? Array(shard.replicas) : [leader]
    }
    return nodes.count == 1 ? nodes[0] : nil
  }

  private func quoted(_ name: String) -> String { name.debugDescription }
}
