import ArgumentParser
import Server
import Sharding

/// Which node of a configuration a process is.
struct PlaceOptions: ParsableArguments {
  @Option(
    name: [.customLong("config-file"), .customLong("config")],
    help: ArgumentHelp("The configuration of the cluster.", valueName: "sharding.json"))
  var configFile: String?

  @Option(help: "The name of the node's shard, where its address does not say it.")
  var shard: String?

  @Flag(help: "With --shard, at an address that is not in the configuration: one more replica.")
  var replica = false

  @Option(
    name: [.customShort("w"), .customLong("write-quorum")],
    help: "Nodes that must have a write before it is acknowledged. (default: 1)")
  var writeQuorum: Int?

  @Option(
    name: [.customShort("r"), .customLong("read-quorum")],
    help: "Nodes that are asked for a read. (default: 1)")
  var readQuorum: Int?

  @Flag(
    name: .customLong("read-unconfirmed"),
    help: "With a write quorum above 1, reads also show what a failover may take back.")
  var readUnconfirmed = false

  func validate() throws {
    guard configFile != nil || shard == nil && !replica else {
      throw ValidationError("--shard and --replica need --config-file")
    }
  }

  /// Those that were given, as flags or in the environment.
  func quorums(in environment: [String: String]) throws -> (write: Int?, read: Int?) {
    (
      try Self.quorum(writeQuorum, "--write-quorum", environment, "W"),
      try Self.quorum(readQuorum, "--read-quorum", environment, "R")
    )
  }

  private static func quorum(
    _ given: Int?, _ flag: String, _ environment: [String: String], _ variable: String
  ) throws -> Int? {
    let text = given.map { "\($0)" } ?? environment[variable]
    guard let text else { return nil }
    guard let number = Int(text), number >= 1 else {
      throw ValidationError(
        "\(given == nil ? variable : flag) must be a whole number from 1, not \"\(text)\"")
    }
    return number
  }

  /// What the configuration says about this node; nil without one.
  ///
  /// - Parameters:
  ///   - address: where it listens; nil when nobody said.
  ///   - map: the configuration.
  ///   - told: what was said elsewhere, where there is no file.
  func find(
    address: String?, in map: ShardMap?, _ environment: [String: String], told: ShardMap? = nil
  ) throws -> ConfiguredNode? {
    let quorums = try quorums(in: environment)
    guard let map else {
      if let told {
        let place = try ConfigurationFile.refused { () throws(ShardMapError) in
          try told.place(address: address, shard: nil, isReplica: false)
        }
        return try Self.node(told, place, quorums)
      }
      let (write, read) = quorums
      for (name, quorum) in [("write", write ?? 1), ("read", read ?? 1)] where quorum > 1 {
        throw Output.failure(
          "a \(name) quorum of \(quorum): there is one node only. Name the others with --config-file, or with NODE_TYPE=leader and FOLLOWER_URLS"
        )
      }
      return nil
    }
    let place = try ConfigurationFile.refused { () throws(ShardMapError) in
      try map.place(address: address, shard: shard, isReplica: replica)
    }
    if let refusal = Self.refusal(of: environment["NODE_ID"], map, place) {
      throw Output.failure(refusal)
    }
    return try Self.node(map, place, quorums)
  }

  /// Why a node of a configuration cannot have that name.
  static func refusal(of id: String?, _ map: ShardMap, _ place: NodePlace) -> String? {
    guard place.isListed, let id, id != place.address else { return nil }
    return "NODE_ID is \(id.debugDescription), but the other nodes know this one by its address in "
      + "\(map.file), \(place.address): unset it"
  }

  /// The node at a place of a configuration, with the quorums that were given apart from that.
  static func node(
    _ map: ShardMap, _ place: NodePlace, _ quorums: (write: Int?, read: Int?)
  ) throws -> ConfiguredNode {
    let node = ConfiguredNode(map, place, quorums)
    if let refusal = node.refusal { throw Output.failure(refusal) }
    return node
  }
}

/// A node, and the configuration that it is of.
struct ConfiguredNode {
  var map: ShardMap
  var place: NodePlace
  var writeQuorum: Int
  var readQuorum: Int

  /// - Parameter quorums: those that were given apart from the configuration.
  init(_ map: ShardMap, _ place: NodePlace, _ quorums: (write: Int?, read: Int?)) {
    self.map = map
    self.place = place
    writeQuorum = quorums.write ?? map.writeQuorum
    readQuorum = quorums.read ?? map.readQuorum
  }

  /// Why there can be no such node; nil where there can.
  var refusal: String? {
    let members = place.shard.nodes.count
    for (name, quorum) in [("write", writeQuorum), ("read", readQuorum)] where quorum > members {
      return
        "a \(name) quorum of \(quorum): shard \(place.shard.name.debugDescription) has \(members) members"
    }
    return nil
  }

  func apply(to configuration: inout Configuration) {
    let shard = place.shard
    configuration.shardName = shard.name
    configuration.shardIndex = UInt32(shard.index)
    configuration.shardCount = UInt32(map.shards.count)
    configuration.hash = map.hash
    configuration.map = map
    configuration.writeQuorum = writeQuorum
    configuration.readQuorum = readQuorum
    configuration.isLeaderless = shard.mode == .leaderless
    configuration.members = shard.nodes.map { Member(id: $0, address: $0) }
    configuration.role = place.role == .leader || configuration.isLeaderless ? .leader : .replica
    configuration.leaderAddress = shard.leader.flatMap { $0 == place.address ? nil : $0 }
  }
}
