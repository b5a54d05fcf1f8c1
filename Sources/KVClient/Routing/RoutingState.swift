import Client
import NIOCore
import Sharding

/// Which node a request goes to: the configuration, who leads each shard, who could be reached of late. Takes
/// what happened and says where to go; asks nobody itself.
package struct RoutingState: Sendable {
  package struct Shard: Hashable, Sendable {
    package var name: String
    /// Never empty.
    package var nodes: [NodeAddress]
    /// Nil when it has to be found out.
    package var leader: NodeAddress?
    /// Every node takes writes.
    package var isLeaderless = false
  }

  /// What a request does.
  package enum Use: Hashable, Sendable {
    case write
    case read(KVReadSource)

    var isRead: Bool { if case .read = self { true } else { false } }
  }

  package enum Choice: Hashable, Sendable {
    case node(NodeAddress)
    case leaderUnknown
  }

  /// Nil where the nodes have none: they are one shard then.
  package private(set) var map: ShardMap?
  /// By index; empty as long as nothing is known.
  package private(set) var shards: [Shard] = []
  private var health: [NodeAddress: NodeHealth] = [:]
  private var turn: UInt = 0

  package init() {}

  package var isKnown: Bool { !shards.isEmpty }
  package var version: Int? { map?.version }

  package func shard(of key: [UInt8]) -> Int {
    guard let map else { return 0 }
    return key.withUnsafeBytes { map.shard(of: $0) }
  }

  // MARK: - What is known of the cluster

  /// Takes a configuration, unless a higher one, or this one, is known.
  ///
  /// Who led a shard of the same name goes on leading it, where it is a node of it.
  ///
  /// - Returns: false when nothing changes.
  @discardableResult
  package mutating func adopt(_ map: ShardMap) -> Bool {
    if let known = self.map, known.version >= map.version { return false }
    var shards: [Shard] = []
    for new in map.shards {
      let nodes = new.nodes.compactMap(NodeAddress.parsed)
      guard nodes.count == new.nodes.count else { return false }
      let before = self.shards.first { $0.name == new.name }?.leader
      let leader = before.flatMap { nodes.contains($0) ? $0 : nil } ?? nodes[0]
      shards.append(
        Shard(
          name: new.name, nodes: nodes, leader: new.mode == .leader ? leader : nil,
          isLeaderless: new.mode == .leaderless))
    }
    self.map = map
    self.shards = shards
    forgetStrangers()
    return true
  }

  /// Takes nodes without a configuration: they are one shard. One that has a configuration is not left.
  package mutating func adopt(alone reports: [NodeReport], seeds: [NodeAddress]) {
    guard map == nil else { return }
    var nodes = seeds
    for report in reports {
      for node in [report.address] + (report.leader.map { [$0] } ?? []) + report.replicas
      where !nodes.contains(node) && nodes.count < ShardMap.nodesPerShardMax {
        nodes.append(node)
      }
    }
    guard !nodes.isEmpty else { return }
    shards = [
      Shard(
        name: "default", nodes: nodes, leader: LeaderChoice.leader(among: reports)?.address,
        isLeaderless: reports.contains { $0.role == .leaderless })
    ]
    forgetStrangers()
  }

  private mutating func forgetStrangers() {
    let nodes = Set(shards.flatMap(\.nodes))
    health = health.filter { nodes.contains($0.key) }
  }

  // MARK: - What happened

  package mutating func leads(_ node: NodeAddress, shard: Int) {
    guard shards.indices.contains(shard), !shards[shard].isLeaderless else { return }
    shards[shard].leader = node
    health[node] = nil
    if map == nil, !shards[shard].nodes.contains(node),
      shards[shard].nodes.count < ShardMap.nodesPerShardMax
    {
      shards[shard].nodes.append(node)
    }
  }

  /// That node may not be the leader of what it was taken to lead.
  package mutating func doubtLeader(_ node: NodeAddress) {
    for shard in shards.indices where shards[shard].leader == node { shards[shard].leader = nil }
  }

  package mutating func isUnreachable(_ node: NodeAddress, _ now: NIODeadline) {
    doubtLeader(node)
    guard health[node] != nil || shards.contains(where: { $0.nodes.contains(node) }) else { return }
    health[node, default: NodeHealth()].failed(now)
  }

  package mutating func hasAnswered(_ node: NodeAddress) {
    if health[node] != nil { health[node] = nil }
  }

  // MARK: - Where to go

  /// - Parameters:
  ///   - tried: nodes that this very request has asked in vain: others are asked before them.
  ///   - shard: of `shards`.
  package mutating func choose(
    _ shard: Int, _ use: Use, tried: [NodeAddress], _ now: NIODeadline
  ) -> Choice {
    let shard = shards[shard]
    if shard.isLeaderless { return .node(pick(shard.nodes, else: [], tried, now)) }
    switch use {
    case .write, .read(.leader):
      return shard.leader.map { .node($0) } ?? .leaderUnknown
    case .read(.any):
      return .node(pick(shard.nodes, else: [], tried, now))
    case .read(.replicas):
      let replicas = shard.nodes.filter { $0 != shard.leader }
      return .node(pick(replicas, else: shard.leader.map { [$0] } ?? [], tried, now))
    }
  }

  /// The next in turn of those that are fit; of both lists together one node at least is there.
  private mutating func pick(
    _ nodes: [NodeAddress], else others: [NodeAddress], _ tried: [NodeAddress], _ now: NIODeadline
  ) -> NodeAddress {
    turn &+= 1
    func first(_ nodes: [NodeAddress], where isFit: (NodeAddress) -> Bool) -> NodeAddress? {
      guard !nodes.isEmpty else { return nil }
      let start = Int(turn % UInt(nodes.count))
      return (nodes[start...] + nodes[..<start]).first(where: isFit)
    }
    let health = health
    func isHealthy(_ node: NodeAddress) -> Bool { health[node]?.isAvoided(now) != true }
    func isNew(_ node: NodeAddress) -> Bool { !tried.contains(node) }
    return first(nodes) { isHealthy($0) && isNew($0) }
      ?? first(others) { isHealthy($0) && isNew($0) }
      ?? first(nodes, where: isNew) ?? first(others, where: isNew)
      ?? first(nodes, where: isHealthy) ?? first(nodes + others) { _ in true }!
  }

  /// Some nodes to ask for a newer configuration, those that could be reached first.
  package mutating func someNodes(_ count: Int, _ now: NIODeadline) -> [NodeAddress] {
    var nodes: [NodeAddress] = []
    let all = shards.flatMap(\.nodes)
    guard !all.isEmpty else { return [] }
    turn &+= 1
    let start = Int(turn % UInt(all.count))
    let turned = Array(all[start...] + all[..<start])
    let health = health
    let healthy = turned.filter { health[$0]?.isAvoided(now) != true }
    for node in healthy + turned where !nodes.contains(node) && nodes.count < count {
      nodes.append(node)
    }
    return nodes
  }
}
