import KVClient
import Sharding

/// Which node a request goes to, by its key's shard and by whether it writes.
package struct TargetMap: Sendable, Equatable {
  package enum Mode: String, Sendable {
    case leaderFollower = "leader-follower"
    case leaderless
  }

  package let mode: Mode
  /// Every node that is, or may be, sent requests.
  package private(set) var nodes: [NodeAddress] = []
  /// 1 where the keys' shards make no difference: the nodes that are known forward what is not theirs.
  package private(set) var shardCount = 1
  /// Whether the targets are part of something that has several shards.
  package let isCluster: Bool
  /// Whether the nodes of a key's shard are asked, and not every node for every key.
  package let routesByKey: Bool
  /// For each shard places in `nodes`, one at least.
  package private(set) var writers: [[Int]] = []
  package private(set) var readers: [[Int]] = []
  /// For each shard the places of all nodes that could lead it; empty where nobody else does.
  package private(set) var candidates: [[Int]] = []
  /// So many of `nodes` are sent requests from the start on; the others may lead later.
  package private(set) var usedCount = 0
  private var hash = ShardHash.fnv1

  /// Of nodes that have no configuration.
  ///
  /// - Parameters:
  ///   - descriptions: of the targets, one at least.
  ///   - hasWrites: whether writers are needed.
  package init(
    _ descriptions: [NodeDescription], readFrom: BenchParameters.ReadSource, hasWrites: Bool
  ) throws(BenchError) {
    mode = try Self.mode(of: descriptions)
    guard Set(descriptions.map(\.shardCount)).count == 1 else {
      throw .unusable("the targets belong to systems of different numbers of shards")
    }
    let count = descriptions[0].shardCount
    isCluster = count > 1
    // Where not every shard has a target, those that there are forward.
    let knowsAll = Set(descriptions.map(\.shard)).count == count
    shardCount = knowsAll ? count : 1
    routesByKey = shardCount > 1
    for shard in 0..<shardCount {
      let members = descriptions.filter { !knowsAll || $0.shard == shard }
      if mode == .leaderless {
        addEquals(members.map(\.address))
      } else {
        try addShard(members, readFrom: readFrom, hasWrites: hasWrites)
      }
    }
    usedCount = nodes.count
  }

  /// Of a configuration: each shard by its own nodes.
  ///
  /// - Parameter descriptions: of its nodes, those that answer.
  package init(
    _ map: ShardMap, _ descriptions: [NodeDescription], readFrom: BenchParameters.ReadSource,
    hasWrites: Bool
  ) throws(BenchError) {
    mode = map.mode == .leader ? .leaderFollower : .leaderless
    isCluster = map.shards.count > 1
    shardCount = map.shards.count
    routesByKey = isCluster
    hash = map.hash
    for shard in map.shards {
      let members = descriptions.filter { shard.nodes.contains("\($0.address)") }
      guard shard.mode == .leader else {
        guard !members.isEmpty else { throw .target("shard \(shard.name): no node answers") }
        addEquals(members.map(\.address))
        continue
      }
      let leader = members.filter { $0.role == "leader" }.max { $0.epoch < $1.epoch }?.address
      let replicas = members.map(\.address).filter { $0 != leader }
      guard leader != nil || !hasWrites && readFrom != .leader else {
        throw .target(
          "shard \(shard.name): none of its nodes leads, or it does not answer: "
            + shard.nodes.joined(separator: ", "))
      }
      guard readFrom != .replicas || !replicas.isEmpty else {
        throw .unsupported("--read-from replicas: shard \(shard.name) has none that answers")
      }
      let leaders = leader.map { [place(of: $0)] } ?? []
      writers.append(leaders)
      switch readFrom {
      case .leader: readers.append(leaders)
      case .replicas: readers.append(replicas.map { place(of: $0) })
      case .any: readers.append(leaders + replicas.map { place(of: $0) })
      }
    }
    usedCount = nodes.count
    guard mode == .leaderFollower else { return }
    candidates = map.shards.map { shard in
      shard.nodes.compactMap(NodeAddress.parsed).map { place(of: $0) }
    }
  }

  /// Of targets that take everything, and hand on what is another's.
  ///
  /// - Parameter map: the configuration, where there is one.
  package init(entries descriptions: [NodeDescription], _ map: ShardMap?) throws(BenchError) {
    mode = try Self.mode(of: descriptions)
    shardCount = map?.shards.count ?? descriptions[0].shardCount
    hash = map?.hash ?? .fnv1
    isCluster = shardCount > 1
    routesByKey = false
    // Keys that are stored together are of one shard, whoever takes them.
    for _ in 0..<shardCount { addEquals(descriptions.map(\.address)) }
    usedCount = nodes.count
  }

  private static func mode(of descriptions: [NodeDescription]) throws(BenchError) -> Mode {
    let leaderless = descriptions.count { $0.role == "leaderless" }
    guard leaderless == 0 || leaderless == descriptions.count else {
      throw .unusable("some targets are leaderless and some are not: they are not one system")
    }
    return leaderless == 0 ? .leaderFollower : .leaderless
  }

  private mutating func addEquals(_ addresses: [NodeAddress]) {
    let places = addresses.map { place(of: $0) }
    writers.append(places)
    readers.append(places)
  }

  private mutating func addShard(
    _ members: [NodeDescription], readFrom: BenchParameters.ReadSource, hasWrites: Bool
  ) throws(BenchError) {
    var leaders = members.filter { $0.role != "replica" }.map(\.address)
    var replicas = members.filter { $0.role == "replica" }.map(\.address)
    for member in members {
      // Not looked at where nobody asks for them: some may not say where they are.
      for text in member.replicas where readFrom != .leader && !text.isEmpty {
        try Self.add(text, to: &replicas)
      }
      if let text = member.leader { try Self.add(text, to: &leaders) }
    }
    replicas.removeAll { leaders.contains($0) }
    let first = members[0].address
    if leaders.isEmpty, hasWrites || readFrom == .leader {
      throw .unusable("\(first) is a replica and names no leader: give its leader as --target")
    }
    if replicas.isEmpty, readFrom == .replicas {
      throw .unsupported("--read-from replicas: \(first) has no replicas (its /status lists none)")
    }
    writers.append(leaders.map { place(of: $0) })
    switch readFrom {
    case .leader: readers.append(leaders.map { place(of: $0) })
    case .replicas: readers.append(replicas.map { place(of: $0) })
    case .any: readers.append((leaders + replicas).map { place(of: $0) })
    }
  }

  private mutating func place(of address: NodeAddress) -> Int {
    if let place = nodes.firstIndex(of: address) { return place }
    nodes.append(address)
    return nodes.count - 1
  }

  private static func add(_ text: String, to list: inout [NodeAddress]) throws(BenchError) {
    do throws(KVClientError) {
      let address = try NodeAddress(parsing: text)
      if !list.contains(address) { list.append(address) }
    } catch {
      throw .target("/status names a node that cannot be reached: \(error)")
    }
  }

  /// - Parameter key: its bytes; they make no difference where there is one shard.
  package func shard(of key: some Collection<UInt8>) -> Int {
    guard shardCount > 1 else { return 0 }
    return Array(key).withUnsafeBytes { shard(of: $0) }
  }

  @inline(__always)
  package func shard(of key: UnsafeRawBufferPointer) -> Int {
    hash.shard(of: key, count: shardCount)
  }
}
